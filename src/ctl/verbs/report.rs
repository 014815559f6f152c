//! `report`: everything that can be asked of a broker, in one text.

use serde_json::{Map, Value};

use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::{Answer, printable};
use crate::ctl::session::encode;

/// What is asked once, and of every vhost.
const OF_BROKER: &[(&str, &str)] = &[
    ("Overview", "/api/overview"),
    ("Nodes", "/api/nodes"),
    ("Users", "/api/users?columns=name,tags,limits"),
    ("Vhosts", "/api/vhosts"),
    ("Connections", "/api/connections"),
    ("Channels", "/api/channels"),
    ("User limits", "/api/user-limits"),
    ("Vhost limits", "/api/vhost-limits"),
    ("Feature flags", "/api/feature-flags"),
];

const OF_VHOST: &[(&str, &str)] = &[
    ("Queues", "/api/queues/{}"),
    ("Exchanges", "/api/exchanges/{}"),
    ("Bindings", "/api/bindings/{}"),
    ("Consumers", "/api/consumers/{}"),
    ("Permissions", "/api/vhosts/{}/permissions"),
    ("Topic permissions", "/api/vhosts/{}/topic-permissions"),
    ("Policies", "/api/policies/{}"),
    ("Operator policies", "/api/operator-policies/{}"),
];

/// A JSON document for each; what can't be answered is said in its place, as the rest may be what
/// tells why. Values of parameters are left out: there are passwords in them.
pub(super) fn report(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Reporting the broker's status ...")?;
    let vhosts = asked.names("/api/vhosts")?;
    let mut all = Map::new();
    for (title, path) in OF_BROKER {
        all.insert((*title).to_owned(), answer(asked, path));
    }
    for vhost in vhosts {
        for (title, path) in OF_VHOST {
            let path = path.replace("{}", &encode(&vhost));
            all.insert(format!("{title} of vhost {vhost}"), answer(asked, &path));
        }
    }
    let parts: Vec<String> =
        all.iter().map(|(title, value)| format!("{}\n\n{value:#}\n", printable(title))).collect();
    Ok(Answer::Document { value: Value::Object(all), text: parts.join("\n") })
}

fn answer(asked: &Asked<'_>, path: &str) -> Value {
    asked
        .session
        .get(path)
        .unwrap_or_else(|refused| format!("not answered: {}", Failure::from(refused)).into())
}
