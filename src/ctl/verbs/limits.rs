//! Limits of vhosts and of users.

use serde_json::{Value, json};

use crate::ctl::action::{array, at};
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::{Answer, Rows};
use crate::ctl::session::{Sent, encode};
use crate::ctl::verb::{Action, Subject, Verb, Word, flag, option, optional, required};

const LIMITS: Word =
    required("LIMITS", "A JSON object of limits and their values; a negative one is none");
const USER: Word = required("USER", "The user's name");
const ONE_VHOST: &str = "/api/vhost-limits/{vhost}";
const ONE_USER: &str = "/api/user-limits/{USER}";

pub(super) const SUBJECT: Subject = Subject {
    title: "Limits",
    verbs: &[
        Verb {
            name: "set_vhost_limits",
            about: "Set limits of a vhost: max-connections, max-queues",
            example: "set_vhost_limits -p / '{\"max-connections\":100,\"max-queues\":1000}'",
            words: &[LIMITS],
            action: Action::Own(|asked| {
                asked.banner("Setting vhost limits to \"{LIMITS}\" for vhost \"{vhost}\" ...")?;
                set(asked, ONE_VHOST)
            }),
        },
        Verb {
            name: "clear_vhost_limits",
            about: "Take all limits of a vhost away",
            example: "clear_vhost_limits -p /",
            words: &[],
            action: Action::Own(|asked| {
                asked.banner("Clearing vhost \"{vhost}\" limits ...")?;
                clear(asked, ONE_VHOST, "all")
            }),
        },
        Verb {
            name: "list_vhost_limits",
            about: "List the limits of a vhost, or of all",
            example: "list_vhost_limits -p /\nlist_vhost_limits --global",
            words: &[flag("global", "Those of all vhosts")],
            action: Action::Own(|asked| {
                if asked.flag("global") {
                    asked.banner("Listing limits for all vhosts ...")?;
                    return list(asked, "vhost", "/api/vhost-limits");
                }
                asked.banner("Listing limits for vhost \"{vhost}\" ...")?;
                list_one(asked, ONE_VHOST)
            }),
        },
        Verb {
            name: "set_user_limits",
            about: "Set limits of a user: max-connections, max-channels",
            example: "set_user_limits alice '{\"max-connections\":10,\"max-channels\":100}'",
            words: &[USER, LIMITS],
            action: Action::Own(|asked| {
                asked.banner("Setting user limits to \"{LIMITS}\" for user \"{USER}\" ...")?;
                set(asked, ONE_USER)
            }),
        },
        Verb {
            name: "clear_user_limits",
            about: "Take a limit of a user away, or all of them",
            example: "clear_user_limits alice max-connections\nclear_user_limits alice all",
            words: &[USER, optional("LIMIT", "max-connections, max-channels or all").or("all")],
            action: Action::Own(|asked| {
                let which =
                    if asked.text("LIMIT") == "all" { "all limits" } else { "\"{LIMIT}\" limit" };
                asked.banner(&format!("Clearing {which} for user \"{{USER}}\" ..."))?;
                clear(asked, ONE_USER, asked.text("LIMIT"))
            }),
        },
        Verb {
            name: "list_user_limits",
            about: "List the limits of all users, or of one",
            example: "list_user_limits\nlist_user_limits --user alice",
            words: &[
                option("user", "The user whose limits are meant"),
                flag("global", "Those of all users, as if no user is said"),
            ],
            action: Action::Own(|asked| {
                if asked.given("user").is_none() || asked.flag("global") {
                    asked.banner("Listing limits for all users ...")?;
                    return list(asked, "user", "/api/user-limits");
                }
                asked.banner("Listing limits for user \"{user}\" ...")?;
                list_one(asked, "/api/user-limits/{user}")
            }),
        },
    ],
};

/// One request for each limit, so that the API can say which one is wrong.
fn set(asked: &Asked<'_>, path: &str) -> Result<Answer, Failure> {
    let limits = asked.json("LIMITS")?;
    let limits = limits
        .as_object()
        .ok_or_else(|| Failure::data(asked.sentence("limits are a JSON object, not {LIMITS}")))?;
    for (name, value) in limits {
        let path = format!("{path}/{}", encode(name));
        let body = json!({ "value": value });
        asked.send("PUT", &path, &Sent { body: Some(&body), headers: &[] })?;
    }
    Ok(Answer::Done(String::new()))
}

fn clear(asked: &Asked<'_>, path: &str, which: &str) -> Result<Answer, Failure> {
    let found = array(asked.get(path)?)?;
    let set = found.iter().filter_map(|found| at(found, "value").as_object()).flatten();
    let names: Vec<&str> = match which {
        "all" => set.map(|(name, _)| name.as_str()).collect(),
        one => vec![one],
    };
    for name in names {
        asked.send("DELETE", &format!("{path}/{}", encode(name)), &Sent::default())?;
    }
    Ok(Answer::Done(String::new()))
}

/// A row for each vhost or user that has limits.
fn list(asked: &Asked<'_>, owner: &str, path: &str) -> Result<Answer, Failure> {
    let found = array(asked.get(path)?)?;
    let row = |found: &Value| vec![at(found, owner).clone(), at(found, "value").clone()];
    let columns = vec![owner.to_owned(), "limits".to_owned()];
    Ok(Answer::Rows(Rows { columns, rows: found.iter().map(row).collect() }))
}

/// The limits of one, as `set_vhost_limits` and `set_user_limits` take them.
fn list_one(asked: &Asked<'_>, path: &str) -> Result<Answer, Failure> {
    let found = array(asked.get(path)?)?;
    let value = found.first().map_or(json!({}), |found| at(found, "value").clone());
    Ok(Answer::Document { text: value.to_string(), value })
}
