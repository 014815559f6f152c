//! The specification as data: what the TOML files beside this one say, read into plain structs.

use std::path::Path;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    #[serde(default, rename = "constant")]
    pub constants: Vec<Constant>,
    #[serde(default, rename = "class")]
    pub classes: Vec<Class>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    pub name: String,
    pub value: u16,
    /// `soft` or `hard`, for reply codes that are errors.
    pub error: Option<String>,
    pub doc: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub name: String,
    pub id: u16,
    pub doc: String,
    #[serde(default, rename = "property")]
    pub properties: Vec<Property>,
    #[serde(default, rename = "method")]
    pub methods: Vec<Method>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub doc: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    pub name: String,
    pub id: u16,
    /// `client`, `server` or `both`.
    pub sender: String,
    /// Whether a content header and a body follow.
    #[serde(default)]
    pub content: bool,
    #[serde(default)]
    pub fields: Vec<String>,
    pub doc: String,
}

/// One entry of a method's `fields`: name, type, and perhaps `reserved`.
#[derive(Debug)]
pub struct Field<'a> {
    pub name: &'a str,
    pub kind: &'a str,
    pub reserved: bool,
}

impl Method {
    pub fn fields(&self) -> Vec<Field<'_>> {
        self.fields.iter().map(|text| Field::parse(text)).collect()
    }
}

impl<'a> Field<'a> {
    fn parse(text: &'a str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            [name, kind] => Self { name, kind, reserved: false },
            [name, kind, "reserved"] => Self { name, kind, reserved: true },
            _ => panic!("the field {text:?} is not of the form \"name type [reserved]\""),
        }
    }
}

/// The protocol and its extensions, joined: classes that both name get the methods of both.
pub fn load() -> Spec {
    let mut spec = read("amqp-0-9-1.toml");
    for extension in read("extensions.toml").classes {
        match spec.classes.iter_mut().find(|class| class.name == extension.name) {
            Some(class) => {
                assert_eq!(class.id, extension.id, "id of class {}", class.name);
                class.methods.extend(extension.methods);
            }
            None => spec.classes.push(extension),
        }
    }
    spec
}

fn read(name: &str) -> Spec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol-spec").join(name);
    let text = std::fs::read_to_string(&path).expect("the specification is beside the generator");
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
