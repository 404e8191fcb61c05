//! Reads JSON documents as registries and tools write them, without a guess.
//!
//! `null` counts as missing. Members that nobody asks for may be anything, and of members with the
//! same name the last counts, as in Go. A list in place of an object is an error: the code that
//! serde derives would accept one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde_json::value::RawValue;

/// A value in a document, as it is written.
pub(super) type Value = RawValue;

/// Longest part of a document that an error repeats, in characters.
const SHOWN_LEN: usize = 40;

/// A document that is not JSON, or a value that is not of the kind that belongs in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", if .path.is_empty() { "the document" } else { .path.trim_start_matches('.') })]
pub(super) struct Error {
    /// Place in the document, such as `.config.Env[2]`.
    path: String,
    /// Complaint about it, a predicate such as ` is missing`.
    reason: String,
}

impl Error {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            reason: reason.into(),
        }
    }

    /// Says that it is about a member of an object.
    pub(super) fn in_member(self, name: &str) -> Self {
        let path = format!(".{}{}", excerpt(name), self.path);
        Self { path, ..self }
    }

    /// Says that it is about an item of a list.
    pub(super) fn in_item(self, nr: usize) -> Self {
        let path = format!("[{nr}]{}", self.path);
        Self { path, ..self }
    }
}

/// Members of an object by their names, those that are `null` left out.
pub(super) struct Object<'a>(BTreeMap<String, &'a Value>);

impl<'a> Object<'a> {
    /// Reads a member that may be missing.
    pub(super) fn get<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Value) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let value = self.0.get(name).map(|value| read(value));
        value.transpose().map_err(|error| error.in_member(name))
    }

    /// Reads a member that must be there.
    pub(super) fn require<T>(&self, name: &str, read: impl FnOnce(&'a Value) -> Result<T, Error>) -> Result<T, Error> {
        let value = self.get(name, read)?;
        value.ok_or_else(|| Error::new(" is missing").in_member(name))
    }

    /// Reads a member of which nothing is the default.
    pub(super) fn get_or_default<T: Default>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Value) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.get(name, read).map(Option::unwrap_or_default)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Returns the text of a document. Bytes that are not UTF-8 become U+FFFD, as in Go.
pub(super) fn lossy_text(document: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(document)
}

/// Reads a document that is any value.
pub(super) fn document(text: &str) -> Result<&Value, serde_json::Error> {
    serde_json::from_str(text)
}

/// Reads an object.
pub(super) fn object(value: &Value) -> Result<Object<'_>, Error> {
    let members: BTreeMap<String, &Value> = parse(value, b'{', "an object")?;
    let members = members.into_iter().filter(|(_, member)| !is_null(member));
    Ok(Object(members.collect()))
}

/// Reads an object all of whose members are of one kind.
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

/// Reads a list of one kind; what is `null` in it is left out.
pub(super) fn list<'a, T>(value: &'a Value, read: impl Fn(&'a Value) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    let items: Vec<&Value> = parse(value, b'[', "a list")?;
    let items = items.into_iter().enumerate().filter(|(_, item)| !is_null(item));
    items
        .map(|(nr, item)| read(item).map_err(|error| error.in_item(nr)))
        .collect()
}

/// Reads a text; a number, `true` and `false` are the text that they are written as.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.get().as_bytes()[0] {
        b'{' | b'[' => Err(wrong_type(value, "a string")),
        b'"' => parse(value, b'"', "a string"),
        _ => Ok(value.get().to_owned()),
    }
}

/// Reads words: a list of texts, or, as Docker reads its `StrSlice`, one of them alone. An empty
/// one alone is no word.
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

/// Reads a text of a certain form.
pub(super) fn parsed<T: FromStr<Err: Display>>(value: &Value) -> Result<T, Error> {
    text(value)?.parse().map_err(|error| Error::new(format!(": {error}")))
}

fn parse<'a, T: serde::Deserialize<'a>>(value: &'a Value, first: u8, wanted: &str) -> Result<T, Error> {
    if value.get().as_bytes()[0] != first {
        return Err(wrong_type(value, wanted));
    }
    serde_json::from_str(value.get()).map_err(|error| Error::new(format!(": {error}")))
}

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
    fn values_are_read_as_they_are_written() {
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
