"""The parts of scripts/compare: who is compared, what is measured of them, and the document it ends in."""
