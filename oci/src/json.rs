//! Reads JSON documents as registries and tools write them, and reports where one is wrong.
//!
//! `null` counts as missing. Members that are not read may have any value, and the last of several
//! members with one name wins, as in Go. A list in place of an object is an error, although serde's
//! derived code would accept one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde_json::value::RawValue;

/// A JSON value in its written form.
pub(super) type Value = RawValue;

/// Limit in characters on text of a document in an error.
const SHOWN_LEN: usize = 40;

/// An error in a document: not JSON, or a value of the wrong type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", if .path.is_empty() { "the document" } else { .path.trim_start_matches('.') })]
pub(super) struct Error {
    /// Path to the value, such as `.config.Env[2]`.
    path: String,
    /// Rest of the message, a predicate such as ` is missing`.
    reason: String,
}

impl Error {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            reason: reason.into(),
        }
    }

    /// Puts the name of a member in front of the path.
    pub(super) fn in_member(self, name: &str) -> Self {
        let path = format!(".{}{}", excerpt(name), self.path);
        Self { path, ..self }
    }

    /// Puts the position in a list in front of the path.
    pub(super) fn in_item(self, nr: usize) -> Self {
        let path = format!("[{nr}]{}", self.path);
        Self { path, ..self }
    }
}

/// Members of an object by name, without those that are `null`.
pub(super) struct Object<'a>(BTreeMap<String, &'a Value>);

impl<'a> Object<'a> {
    /// Reads an optional member.
    pub(super) fn get<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Value) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let value = self.0.get(name).map(|value| read(value));
        value.transpose().map_err(|error| error.in_member(name))
    }

    /// Reads a required member.
    pub(super) fn require<T>(&self, name: &str, read: impl FnOnce(&'a Value) -> Result<T, Error>) -> Result<T, Error> {
        let value = self.get(name, read)?;
        value.ok_or_else(|| Error::new(" is missing").in_member(name))
    }

    /// Reads an optional member; returns the default if it is missing.
    pub(super) fn get_or_default<T: Default>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Value) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.get(name, read).map(Option::unwrap_or_default)
    }

    /// Returns whether a member exists and is not `null`.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Decodes a document as UTF-8. Invalid bytes become U+FFFD, as in Go.
pub(super) fn lossy_text(document: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(document)
}

/// Parses a document of any type.
pub(super) fn document(text: &str) -> Result<&Value, serde_json::Error> {
    serde_json::from_str(text)
}

/// Reads an object.
pub(super) fn object(value: &Value) -> Result<Object<'_>, Error> {
    let members: BTreeMap<String, &Value> = parse(value, b'{', "an object")?;
    let members = members.into_iter().filter(|(_, member)| !is_null(member));
    Ok(Object(members.collect()))
}

/// Reads an object whose members have one type.
pub(super) fn map<'a, T>(
    value: &'a Value,
    read: impl Fn(&'a Value) -> Result<T, Error>,
) -> Result<BTreeMap<String, T>, Error> {
    let members = object(value)?.0.into_iter();
    let read = |(name, member): (String, &'a Value)| match read(member) {
        Ok(member) => Ok((name, member)),
        Err(error) => Err(error.in_member(&name)),
    };
    members.map(read).collect()
}

/// Reads a list whose items have one type. Skips items that are `null`.
pub(super) fn list<'a, T>(value: &'a Value, read: impl Fn(&'a Value) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    let items: Vec<&Value> = parse(value, b'[', "a list")?;
    let items = items.into_iter().enumerate().filter(|(_, item)| !is_null(item));
    items
        .map(|(nr, item)| read(item).map_err(|error| error.in_item(nr)))
        .collect()
}

/// Reads a string. A number, `true` or `false` is returned as it is written.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.get().as_bytes()[0] {
        b'{' | b'[' => Err(wrong_type(value, "a string")),
        b'"' => parse(value, b'"', "a string"),
        _ => Ok(value.get().to_owned()),
    }
}

/// Reads a list of strings, or a single string as Docker's `StrSlice` does. An empty single string
/// is an empty list.
pub(super) fn text_or_list(value: &Value) -> Result<Vec<String>, Error> {
    if value.get().starts_with('[') {
        return list(value, text);
    }
    match value.get().as_bytes()[0] {
        b'"' => Ok(Some(text(value)?).filter(|word| !word.is_empty()).into_iter().collect()),
        _ => Err(wrong_type(value, "a list of strings")),
    }
}

/// Reads a whole number from 0 up.
pub(super) fn number(value: &Value) -> Result<u64, Error> {
    let number = value.get();
    if !number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Err(wrong_type(value, "a number"));
    }
    number
        .parse()
        .map_err(|_| Error::new(format!(" is {}, not a whole number from 0 up", excerpt(number))))
}

/// Reads a string, and parses it as a `T`.
pub(super) fn parsed<T: FromStr<Err: Display>>(value: &Value) -> Result<T, Error> {
    text(value)?.parse().map_err(|error| Error::new(format!(": {error}")))
}

/// Parses a value that must start with the byte `first`. `wanted` names its type in errors.
fn parse<'a, T: serde::Deserialize<'a>>(value: &'a Value, first: u8, wanted: &str) -> Result<T, Error> {
    if value.get().as_bytes()[0] != first {
        return Err(wrong_type(value, wanted));
    }
    serde_json::from_str(value.get()).map_err(|error| Error::new(format!(": {error}")))
}

/// Returns the error that a value has another type than the one `wanted`.
fn wrong_type(value: &Value, wanted: &str) -> Error {
    let found = match value.get().as_bytes()[0] {
        b'{' => "an object",
        b'[' => "a list",
        b'"' => "a string",
        b't' | b'f' => "a truth value",
        b'n' => "null",
        _ => "a number",
    };
    Error::new(format!(" is {found}, not {wanted}"))
}

fn is_null(value: &Value) -> bool {
    value.get() == "null"
}

/// Returns the beginning of a text, escaped.
fn excerpt(text: &str) -> String {
    text.chars().take(SHOWN_LEN).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(text: &str, read: impl Fn(&Value) -> Result<T, Error>) -> Result<T, String> {
        read(document(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_error_names_the_place_and_both_kinds() {
        let env = |document: &Value| {
            object(document)?.get("config", |config| {
                object(config)?.get("Env", |env| list(env, text)).map(Option::unwrap)
            })
        };
        for (document, expected) in [
            ("[]", "the document is a list, not an object"),
            (r#" {"config": [1]}"#, "config is a list, not an object"),
            (r#"{"config": {"Env": "x"}}"#, "config.Env is a string, not a list"),
            (
                r#"{"config": {"Env": [null, "a", {}]}}"#,
                "config.Env[2] is an object, not a string",
            ),
        ] {
            assert_eq!(read(document, env).unwrap_err(), expected);
        }
        let size = |document: &Value| object(document)?.require("size", number);
        for (document, expected) in [
            ("null", "the document is null, not an object"),
            ("{}", "size is missing"),
            (r#"{"size": null}"#, "size is missing"),
            (r#"{"size": true}"#, "size is a truth value, not a number"),
            (r#"{"size": -7}"#, "size is -7, not a whole number from 0 up"),
            (r#"{"size": 1e400}"#, "size is 1e400, not a whole number from 0 up"),
        ] {
            assert_eq!(read(document, size).unwrap_err(), expected);
        }
        let names = |document: &Value| map(document, |value| object(value).map(drop));
        assert_eq!(
            read(r#"{"a\u001b[2J": 1}"#, names).unwrap_err(),
            "a\\u{1b}[2J is a number, not an object"
        );
    }

    #[test]
    fn text_and_lists_accept_any_scalar_and_numbers_keep_their_digits() {
        for (value, expected) in [
            (r#""a""#, Ok(vec!["a"])),
            (r#""""#, Ok(vec![])),
            (r#"["a", null, 5, true, ""]"#, Ok(vec!["a", "5", "true", ""])),
            ("{}", Err("the document is an object, not a list of strings")),
            ("5", Err("the document is a number, not a list of strings")),
        ] {
            let expected: Result<Vec<_>, _> = expected
                .map(|words| words.into_iter().map(str::to_owned).collect())
                .map_err(str::to_owned);
            assert_eq!(read(value, text_or_list), expected, "{value}");
        }
        assert_eq!(read("1.50", text), Ok("1.50".to_owned()));
        assert_eq!(read("18446744073709551615", number), Ok(u64::MAX));
        let last = |document: &Value| object(document)?.require("a", text);
        assert_eq!(
            read(r#"{"a": [], "b": [[[1e999]]], "a": "x"}"#, last),
            Ok("x".to_owned())
        );
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{{\"b\": {}1{}}}", open.repeat(100_000), close.repeat(100_000));
            assert_eq!(read(&deep, |value| object(value).map(drop)), Ok(()));
        }
        assert_eq!(lossy_text(b"{\"a\": \"\xff\"}"), "{\"a\": \"\u{fffd}\"}");
    }
}
