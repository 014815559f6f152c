//! Users: names, passwords, tags.

use serde_json::{Value, json};

use crate::ctl::action::at;
use crate::ctl::asked::Asked;
use crate::ctl::failure::Failure;
use crate::ctl::output::Answer;
use crate::ctl::session::{Login, Refused, Sent, encode};
use crate::ctl::verb::{
    Action, Change, List, Subject, Verb, Word, columns, flag, many, no_body, option, optional,
    required,
};

const USER: Word = required("USER", "The user's name");
const PASSWORD: Word =
    optional("PASSWORD", "The password; without one it is asked for, or read from the input");

pub(super) const SUBJECT: Subject = Subject {
    title: "Users",
    verbs: &[
        Verb {
            name: "add_user",
            about: "Add a user, who has no permissions yet",
            example: "add_user alice\nadd_user alice --tags monitoring < password",
            words: &[
                USER,
                PASSWORD,
                option("tags", "Tags of the user, separated by commas"),
                flag("pre-hashed-password", "The password is one that hash_password printed"),
            ],
            action: Action::Own(add_user),
        },
        Verb {
            name: "delete_user",
            about: "Delete a user, and close its connections",
            example: "delete_user alice",
            words: &[USER],
            action: Action::Change(Change {
                banner: "Deleting user \"{USER}\" ...",
                method: "DELETE",
                path: "/api/users/{USER}",
                body: no_body,
                done: "",
            }),
        },
        Verb {
            name: "change_password",
            about: "Change a user's password",
            example: "change_password alice\nchange_password alice < password",
            words: &[
                USER,
                PASSWORD,
                flag("pre-hashed-password", "The password is one that hash_password printed"),
            ],
            action: Action::Own(change_password),
        },
        Verb {
            name: "clear_password",
            about: "Take a user's password away: it can't log in with one any more",
            example: "clear_password alice",
            words: &[USER],
            action: Action::Own(clear_password),
        },
        Verb {
            name: "authenticate_user",
            about: "Try a user's password",
            example: "authenticate_user alice",
            words: &[USER, PASSWORD],
            action: Action::Own(authenticate_user),
        },
        Verb {
            name: "set_user_tags",
            about: "Set a user's tags in place of those it has; none takes all away",
            example: "set_user_tags alice monitoring policymaker\nset_user_tags alice",
            words: &[
                USER,
                many(
                    "TAG",
                    "administrator, monitoring, policymaker, management, impersonator or your own",
                ),
            ],
            action: Action::Own(set_user_tags),
        },
        Verb {
            name: "list_users",
            about: "List the users",
            example: "list_users\nlist_users --formatter json user tags limits",
            words: &[],
            action: Action::List(List {
                banner: "Listing users ...",
                path: "/api/users",
                columns: columns!["user" = "name", "tags", "hashing_algorithm", "limits"],
                usual: &["user", "tags"],
            }),
        },
        Verb {
            name: "hash_password",
            about: "Print the hash of a password, for a definitions file",
            example: "hash_password\nhash_password < password",
            words: &[PASSWORD],
            action: Action::Own(hash_password),
        },
        Verb {
            name: "list_hashes",
            about: "List the algorithms that passwords can be hashed with",
            example: "list_hashes",
            words: &[],
            action: Action::Own(list_hashes),
        },
    ],
};

const PATH: &str = "/api/users/{USER}";

/// What of the user changes; the rest stays, which takes saying it again.
fn put_user(asked: &Asked<'_>, before: &Value, change: &Value) -> Result<(), Failure> {
    let mut body = json!({"tags": at(before, "tags")});
    let has_new_secret =
        ["password", "password_hash"].iter().any(|name| change.get(name).is_some());
    if !has_new_secret && !at(before, "password_hash").is_null() {
        body["password_hash"] = at(before, "password_hash").clone();
        body["hashing_algorithm"] = at(before, "hashing_algorithm").clone();
    }
    for (name, value) in change.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    asked.send("PUT", PATH, &Sent { body: Some(&body), headers: &[] })?;
    Ok(())
}

fn secret(asked: &Asked<'_>) -> Result<Value, Failure> {
    let password = asked.password("PASSWORD")?;
    let is_hashed = asked.flag("pre-hashed-password");
    Ok(if is_hashed { json!({"password_hash": password}) } else { json!({"password": password}) })
}

fn add_user(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Adding user \"{USER}\" ...")?;
    let path = asked.fill(PATH, encode);
    match asked.session.get(&path) {
        Err(Refused { status: 404, .. }) => {}
        Err(refused) => return Err(refused.into()),
        Ok(_) => return Err(Failure::software(asked.sentence("User \"{USER}\" already exists"))),
    }
    put_user(asked, &json!({"tags": asked.each("tags")}), &secret(asked)?)?;
    let done = "Done. The user has no permissions in any vhost yet: see \
                'ferrymqctl help set_permissions'.";
    Ok(Answer::Advice(done.to_owned()))
}

fn change_password(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Changing password for user \"{USER}\" ...")?;
    put_user(asked, &asked.get(PATH)?, &secret(asked)?)?;
    Ok(Answer::Done(String::new()))
}

fn clear_password(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Clearing password for user \"{USER}\" ...")?;
    put_user(asked, &asked.get(PATH)?, &json!({"password_hash": ""}))?;
    Ok(Answer::Done(String::new()))
}

fn set_user_tags(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Setting tags for user \"{USER}\" to [{TAG}] ...")?;
    put_user(asked, &asked.get(PATH)?, &json!({"tags": asked.each("TAG")}))?;
    Ok(Answer::Done(String::new()))
}

/// Logs in as the user. One that may not use the API is one whose password is right.
fn authenticate_user(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let user = asked.text("USER").to_owned();
    asked.banner("Authenticating user \"{USER}\" ...")?;
    let login = Login { user, password: asked.password("PASSWORD")? };
    match asked.session.as_another(&login).get("/api/whoami") {
        Ok(_) => Ok(Answer::Done("Success".to_owned())),
        Err(refused) if refused.status == 401 && needs_tag(&refused) => {
            Ok(Answer::Done("Success".to_owned()))
        }
        Err(refused) if refused.status == 401 => {
            let reason = refused.reason();
            let text = asked.sentence("failed to authenticate user \"{USER}\"");
            Err(Failure::data(format!("{text}: {reason}")))
        }
        Err(refused) => Err(refused.into()),
    }
}

/// Whether it is the user's tags that keep it out.
fn needs_tag(refused: &Refused) -> bool {
    let reason = refused.reason();
    reason.contains("needs the tag") || reason.contains("Not management user")
}

fn hash_password(asked: &Asked<'_>) -> Result<Answer, Failure> {
    let password = asked.password("PASSWORD")?;
    asked.banner("Will hash password with the broker's algorithm ...")?;
    let body = json!({ "password": password });
    let answer =
        asked.send("PUT", "/api/auth/hash_password", &Sent { body: Some(&body), headers: &[] })?;
    let hash = at(&answer, "password_hash").as_str();
    let hash = hash.ok_or_else(|| Failure::software("the broker answered no hash"))?;
    Ok(Answer::Document { value: answer.clone(), text: hash.to_owned() })
}

/// Those that the definitions of users name.
fn list_hashes(asked: &Asked<'_>) -> Result<Answer, Failure> {
    asked.banner("Listing supported hash algorithms ...")?;
    let names =
        ["sha256", "sha512", "md5"].map(|algorithm| format!("rabbit_password_hashing_{algorithm}"));
    Ok(Answer::Document { value: json!(names), text: names.join("\n") })
}
