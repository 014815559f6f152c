//! Specification to Rust: a struct for each method, one enum of all, the properties, the constants.

use std::fmt::Write;

use super::spec::{Class, Constant, Field, Method, Spec};

const HEAD: &str = "\
//! GENERATED from `protocol-spec/` by `cargo test --test protocol_spec`: change it there.
//!
//! The methods of AMQP 0-9-1 and of RabbitMQ's extensions, the properties of a message, the
//! constants. Reserved fields are left out; they are written as zero and not looked at.

#![allow(clippy::too_many_lines)] // one arm for each method

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::table::FieldTable;
use super::wire::{Fields, ShortStr, put_bits, put_longstr, put_shortstr};

";

const LINE_LEN_MAX: usize = 100;

macro_rules! emit {
    ($out:expr, $($arg:tt)*) => {
        writeln!($out, $($arg)*).expect("a String takes everything")
    };
}

pub fn rust(spec: &Spec) -> String {
    let mut out = String::from(HEAD);
    constants(&mut out, &spec.constants);
    reply_codes(&mut out, &spec.constants);
    method_enum(&mut out, spec);
    for class in &spec.classes {
        comment(&mut out, "//", &format!("Class {}: {}", class.name, class.doc));
        out.push('\n');
        for method in &class.methods {
            method_struct(&mut out, class, method);
        }
    }
    for class in spec.classes.iter().filter(|class| !class.properties.is_empty()) {
        properties(&mut out, class);
    }
    out
}

/// A comment in lines of the house's width, which rustfmt leaves as they are.
fn comment(out: &mut String, mark: &str, text: &str) {
    let mut line = String::from(mark);
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > LINE_LEN_MAX {
            emit!(out, "{line}");
            line = String::from(mark);
        }
        line = line + " " + word;
    }
    emit!(out, "{line}");
}

fn camel(name: &str) -> String {
    name.split('-')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        })
        .collect()
}

/// A field's name in Rust; `type` is a word of the language.
fn snake(name: &str) -> String {
    match name {
        "type" => "kind".to_owned(),
        name => name.replace('-', "_"),
    }
}

fn struct_name(class: &Class, method: &Method) -> String {
    camel(&class.name) + &camel(&method.name)
}

fn rust_type(kind: &str) -> &'static str {
    match kind {
        "bit" => "bool",
        "octet" => "u8",
        "short" => "u16",
        "long" => "u32",
        "longlong" | "timestamp" => "u64",
        "shortstr" => "ShortStr",
        "longstr" => "Bytes",
        "table" => "FieldTable",
        other => panic!("the type {other:?} is not one of the protocol's"),
    }
}

fn is_reply_code(constant: &Constant) -> bool {
    constant.error.is_some() || constant.name == "reply-success"
}

fn constants(out: &mut String, constants: &[Constant]) {
    for constant in constants.iter().filter(|constant| !is_reply_code(constant)) {
        let kind = if constant.name == "frame-min-size" { "u32" } else { "u8" };
        let name = constant.name.replace('-', "_").to_uppercase();
        emit!(out, "/// {}\npub const {name}: {kind} = {};\n", constant.doc, constant.value);
    }
}

fn reply_codes(out: &mut String, constants: &[Constant]) {
    let codes: Vec<&Constant> =
        constants.iter().filter(|constant| is_reply_code(constant)).collect();
    emit!(out, "/// What a close or a return says of its cause.");
    emit!(out, "#[derive(Debug, Clone, Copy, PartialEq, Eq)]\npub enum ReplyCode {{");
    for code in &codes {
        emit!(out, "/// {}\n{},", code.doc, camel(&code.name));
    }
    emit!(out, "}}\n\nimpl ReplyCode {{");
    let arms = |value: &dyn Fn(&Constant) -> String| -> String {
        codes
            .iter()
            .map(|code| format!("Self::{} => {},", camel(&code.name), value(code)))
            .collect()
    };
    emit!(
        out,
        "pub fn code(self) -> u16 {{ match self {{ {} }} }}\n",
        arms(&|code| code.value.to_string())
    );
    emit!(out, "/// As error texts begin with it.");
    let name = |code: &Constant| format!("{:?}", code.name.replace('-', "_").to_uppercase());
    emit!(out, "pub fn name(self) -> &'static str {{ match self {{ {} }} }}\n", arms(&name));
    emit!(out, "/// Whether it ends the connection, not only the channel.");
    let hard: Vec<String> = codes
        .iter()
        .filter(|code| code.error.as_deref() == Some("hard"))
        .map(|code| format!("Self::{}", camel(&code.name)))
        .collect();
    emit!(out, "pub fn is_hard(self) -> bool {{ matches!(self, {}) }}\n}}\n", hard.join(" | "));
}

fn method_enum(out: &mut String, spec: &Spec) {
    let all: Vec<(&Class, &Method)> = spec
        .classes
        .iter()
        .flat_map(|class| class.methods.iter().map(move |method| (class, method)))
        .collect();
    let names: Vec<String> = all.iter().map(|(class, method)| struct_name(class, method)).collect();
    emit!(out, "/// Any method.\n#[derive(Debug, Clone, PartialEq)]\npub enum Method {{");
    names.iter().for_each(|name| emit!(out, "{name}({name}),"));
    emit!(out, "}}\n\nimpl Method {{");
    emit!(
        out,
        "/// Reads the payload of a method frame: class, method, arguments and nothing more."
    );
    emit!(out, "pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {{");
    emit!(out, "let mut fields = Fields::new(payload);");
    emit!(out, "let (class, method) = (fields.short()?, fields.short()?);");
    emit!(out, "let decoded = match (class, method) {{");
    for ((class, method), name) in all.iter().zip(&names) {
        emit!(out, "({}, {}) => Self::{name}({name}::decode(&mut fields)?),", class.id, method.id);
    }
    emit!(
        out,
        "_ => {{ let text = format!(\"unknown method {{method}} of class {{class}}\"); \
         return Err(DecodeError::new(ReplyCode::CommandInvalid, text)); }}"
    );
    emit!(out, "}};\nfields.end()?;\nOk(decoded)\n}}\n");
    emit!(
        out,
        "/// Appends the payload of a method frame.\npub fn encode(&self, out: &mut BytesMut) {{"
    );
    emit!(out, "out.put_u16(self.class_id());\nout.put_u16(self.method_id());\nmatch self {{");
    for ((_, method), name) in all.iter().zip(&names) {
        match method.fields.is_empty() {
            true => emit!(out, "Self::{name}(_) => {{}}"),
            false => emit!(out, "Self::{name}(method) => method.encode(out),"),
        }
    }
    emit!(out, "}}\n}}\n");
    lookups(out, &all, &names);
    for name in &names {
        emit!(
            out,
            "impl From<{name}> for Method {{ \
             fn from(method: {name}) -> Self {{ Self::{name}(method) }} }}\n"
        );
    }
}

fn lookups(out: &mut String, all: &[(&Class, &Method)], names: &[String]) {
    let arms = |value: &dyn Fn(&Class, &Method, &str) -> String| -> String {
        let pairs = all.iter().zip(names);
        pairs
            .map(|((class, method), name)| {
                format!("Self::{name}(_) => {},", value(class, method, name))
            })
            .collect()
    };
    let class_id = arms(&|_, _, name| format!("{name}::CLASS_ID"));
    emit!(out, "pub fn class_id(&self) -> u16 {{ match self {{ {class_id} }} }}\n");
    let method_id = arms(&|_, _, name| format!("{name}::METHOD_ID"));
    emit!(out, "pub fn method_id(&self) -> u16 {{ match self {{ {method_id} }} }}\n");
    emit!(out, "/// As the specification names it.");
    let full_name = arms(&|class, method, _| format!("\"{}.{}\"", class.name, method.name));
    emit!(out, "pub fn name(&self) -> &'static str {{ match self {{ {full_name} }} }}\n");
    emit!(out, "/// Whether a content header and a body follow.");
    let with_content: Vec<String> = all
        .iter()
        .zip(names)
        .filter(|((_, method), _)| method.content)
        .map(|(_, name)| format!("Self::{name}(_)"))
        .collect();
    emit!(
        out,
        "pub fn carries_content(&self) -> bool {{ matches!(self, {}) }}\n}}\n",
        with_content.join(" | ")
    );
}

fn method_struct(out: &mut String, class: &Class, method: &Method) {
    let name = struct_name(class, method);
    let fields = method.fields();
    let kept: Vec<&Field<'_>> = fields.iter().filter(|field| !field.reserved).collect();
    let sender = match method.sender.as_str() {
        "client" => "from the client",
        "server" => "from the broker",
        "both" => "from either side",
        other => panic!("{other:?} doesn't send {}.{}", class.name, method.name),
    };
    comment(out, "///", &format!("{}.{}, {sender}. {}", class.name, method.name, method.doc));
    emit!(out, "#[derive(Debug, Clone, Default, PartialEq)]");
    if kept.is_empty() {
        emit!(out, "pub struct {name};\n");
    } else {
        emit!(out, "pub struct {name} {{");
        for field in &kept {
            emit!(out, "pub {}: {},", snake(field.name), rust_type(field.kind));
        }
        emit!(out, "}}\n");
    }
    emit!(
        out,
        "impl {name} {{\npub const CLASS_ID: u16 = {};\npub const METHOD_ID: u16 = {};\n",
        class.id,
        method.id
    );
    decode_method(out, &fields, &kept);
    if !fields.is_empty() {
        encode_method(out, &fields);
    }
    emit!(out, "}}\n");
}

fn decode_method(out: &mut String, fields: &[Field<'_>], kept: &[&Field<'_>]) {
    let argument = if fields.is_empty() { "_" } else { "fields" };
    emit!(out, "fn decode({argument}: &mut Fields<'_>) -> Result<Self, DecodeError> {{");
    for field in fields {
        let read = match field.kind {
            "table" => "FieldTable::decode(fields)?".to_owned(),
            kind => format!("fields.{kind}()?"),
        };
        match field.reserved {
            true => emit!(out, "{read};"),
            false => emit!(out, "let {} = {read};", snake(field.name)),
        }
    }
    let names: Vec<String> = kept.iter().map(|field| snake(field.name)).collect();
    match names.is_empty() {
        true => emit!(out, "Ok(Self)\n}}\n"),
        false => emit!(out, "Ok(Self {{ {} }})\n}}\n", names.join(", ")),
    }
}

fn encode_method(out: &mut String, fields: &[Field<'_>]) {
    emit!(out, "fn encode(&self, out: &mut BytesMut) {{");
    let mut bits: Vec<String> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let value = format!("self.{}", snake(field.name));
        if field.kind == "bit" {
            bits.push(if field.reserved { "false".to_owned() } else { value });
            let next_is_bit = fields.get(index + 1).is_some_and(|next| next.kind == "bit");
            if !next_is_bit || bits.len() == 8 {
                emit!(out, "put_bits(out, [{}]);", bits.join(", "));
                bits.clear();
            }
            continue;
        }
        match (field.reserved, field.kind) {
            (false, kind) => emit!(out, "{};", put(kind, &value)),
            (true, "short") => emit!(out, "out.put_u16(0);"),
            (true, "shortstr") => emit!(out, "out.put_u8(0);"),
            (true, "longstr") => emit!(out, "out.put_u32(0);"),
            (true, kind) => panic!("no reserved field has the type {kind:?}"),
        }
    }
    emit!(out, "}}");
}

/// The statement that writes a value which is a place (`self.x`).
fn put(kind: &str, place: &str) -> String {
    match kind {
        "octet" => format!("out.put_u8({place})"),
        "short" => format!("out.put_u16({place})"),
        "long" => format!("out.put_u32({place})"),
        "longlong" | "timestamp" => format!("out.put_u64({place})"),
        "shortstr" => format!("put_shortstr(out, &{place})"),
        "longstr" => format!("put_longstr(out, &{place})"),
        "table" => format!("{place}.encode(out)"),
        other => panic!("the type {other:?} is not one of the protocol's"),
    }
}

fn properties(out: &mut String, class: &Class) {
    let name = camel(&class.name) + "Properties";
    emit!(out, "/// The properties of a content of class {}.", class.name);
    emit!(out, "#[derive(Debug, Clone, Default, PartialEq)]\npub struct {name} {{");
    for property in &class.properties {
        let kind = rust_type(&property.kind);
        emit!(out, "/// {}\npub {}: Option<{kind}>,", property.doc, snake(&property.name));
    }
    emit!(out, "}}\n\nimpl {name} {{");
    emit!(out, "/// Reads the property flags and the list.");
    emit!(out, "pub fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {{");
    emit!(out, "let flags = fields.short()?;\nOk(Self {{");
    for (index, property) in class.properties.iter().enumerate() {
        let read = match property.kind.as_str() {
            "table" => "FieldTable::decode(fields)?".to_owned(),
            kind => format!("fields.{kind}()?"),
        };
        let flag = flag(index);
        emit!(
            out,
            "{}: if flags & {flag} != 0 {{ Some({read}) }} else {{ None }},",
            snake(&property.name)
        );
    }
    emit!(out, "}})\n}}\n\n/// Appends the property flags and the list.");
    emit!(out, "pub fn encode(&self, out: &mut BytesMut) {{\nlet mut flags = 0u16;");
    for (index, property) in class.properties.iter().enumerate() {
        emit!(out, "if self.{}.is_some() {{ flags |= {}; }}", snake(&property.name), flag(index));
    }
    emit!(out, "out.put_u16(flags);");
    for property in &class.properties {
        let value = match property.kind.as_str() {
            "octet" | "timestamp" => put(&property.kind, "*value"),
            "shortstr" => "put_shortstr(out, value)".to_owned(),
            kind => put(kind, "value"),
        };
        emit!(out, "if let Some(value) = &self.{} {{ {value}; }}", snake(&property.name));
    }
    emit!(out, "}}\n}}");
}

/// Properties take the flags from the highest down.
fn flag(index: usize) -> String {
    format!("1 << {}", 15 - index)
}
