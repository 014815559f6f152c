//! Feature flags and deprecated features.

use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::session::{Sent, encode};
use crate::ctl::verb::{
    Action, COLUMN, Column, List, Subject, Verb, columns, flag, many, required,
};

const DEPRECATED: &[Column] =
    columns!["name", "deprecation_phase", "provided_by", "desc", "doc_url"];

pub(super) const SUBJECT: Subject = Subject {
    title: "Features",
    verbs: &[
        Verb {
            name: "list_feature_flags",
            about: "List the feature flags",
            example: "list_feature_flags name state stability",
            words: &[],
            action: Action::List(List {
                banner: "Listing feature flags ...",
                path: "/api/feature-flags",
                columns: columns!["name", "state", "stability", "provided_by", "desc", "doc_url"],
                usual: &["name", "state"],
            }),
        },
        Verb {
            name: "enable_feature_flag",
            about: "Enable a feature flag, or all of them",
            example: "enable_feature_flag all",
            words: &[required("FLAG", "The flag's name, or all")],
            action: Action::Own(enable_feature_flag),
        },
        Verb {
            name: "list_deprecated_features",
            about: "List features that will go",
            example: "list_deprecated_features --used",
            words: &[
                flag("used", "Only those that are in use"),
                many(COLUMN, "What to show of each [default: name deprecation_phase]"),
            ],
            action: Action::Own(list_deprecated_features),
        },
    ],
};

fn enable_feature_flag(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let names: Vec<String> = if asked.text("FLAG") == "all" {
        asked.banner("Enabling all feature flags ...")?;
        asked.names("/api/feature-flags")?
    } else {
        asked.banner("Enabling feature flag \"{FLAG}\" ...")?;
        vec![asked.text("FLAG").to_owned()]
    };
    for name in names {
        let path = format!("/api/feature-flags/{}/enable", encode(&name));
        asked.send("PUT", &path, &Sent::default())?;
    }
    Ok(Answer::Done(String::new()))
}

fn list_deprecated_features(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let chosen = asked.columns(DEPRECATED, &["name", "deprecation_phase"])?;
    asked.banner("Listing deprecated features ...")?;
    let used = "/api/deprecated-features/used";
    let path = if asked.flag("used") { used } else { "/api/deprecated-features" };
    asked.list_at(path, &chosen)
}
