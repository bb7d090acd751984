//! `_env:VARIABLE:default` values (docker-registry 0.9.1, `lib/config.py`).
//!
//! The text after `_env:` is split at its first colon: the variable's name, and a default that may itself
//! contain colons. The variable's text is used when it is set, even to nothing; otherwise the default. That
//! text is YAML 1.1. Unlike the original, a key that holds text keeps its text (see [`keep_text`]).

use crate::environment::{Environment, NotUnicode};
use crate::yaml::{self, Node, YamlError};

const PREFIX: &str = "_env:";

/// A text that came through a variable or its default.
#[derive(Clone)]
pub(crate) struct Through {
    /// The name of the variable.
    pub(crate) variable: String,
    /// True when the variable is set; false when the default was used.
    pub(crate) is_set: bool,
    /// The default, for the case that the variable's text must be ignored.
    pub(crate) default: String,
    /// The text before YAML was read from it.
    pub(crate) text: String,
}

/// A text of the form `_env:VARIABLE[:default]`.
pub(crate) struct Reference<'a> {
    /// The name of the variable.
    pub(crate) variable: &'a str,
    default: &'a str,
}

impl<'a> Reference<'a> {
    /// Takes a mapping's value apart; `None` for ordinary values.
    pub(crate) fn read(node: &'a Node) -> Option<Reference<'a>> {
        let Node::Scalar(scalar) = node else { return None };
        let rest = scalar.text.strip_prefix(PREFIX)?;
        let (variable, default) = rest.split_once(':').unwrap_or((rest, ""));
        Some(Reference { variable, default })
    }

    /// Looks the variable up.
    pub(crate) fn follow(&self, environment: &Environment) -> Result<Through, NotUnicode> {
        let set = environment.get(self.variable)?;
        Ok(Through {
            variable: self.variable.to_owned(),
            is_set: set.is_some(),
            default: self.default.to_owned(),
            text: set.unwrap_or(self.default).to_owned(),
        })
    }
}

impl Through {
    /// The text of a variable that a key names as its own; `None` when the variable is not set.
    pub(crate) fn own(variable: &str, environment: &Environment) -> Result<Option<Through>, NotUnicode> {
        let text = environment.get(variable)?;
        Ok(text.map(|text| Through {
            variable: variable.to_owned(),
            is_set: true,
            default: String::new(),
            text: text.to_owned(),
        }))
    }

    /// The default that a key's description gives.
    pub(crate) fn described_default(text: &str) -> Through {
        Through { variable: String::new(), is_set: false, default: String::new(), text: text.to_owned() }
    }

    /// The same reference as if its variable were not set.
    pub(crate) fn unset(&self) -> Through {
        Through { is_set: false, text: self.default.clone(), ..self.clone() }
    }

    /// The text as YAML 1.1.
    pub(crate) fn parse(&self) -> Result<Node, YamlError> {
        yaml::parse(&self.text)
    }

    /// The text for a key that holds text: `None` for nothing, `~` and `null`.
    ///
    /// Where the original would have made text of it, the result is the same: quotes are removed and a
    /// comment is cut. Where it would have made a number, a boolean or a list, or would have failed
    /// (`@secret`, `%x`, `{`), the text stays as it is. Several lines stay several lines.
    pub(crate) fn keep_text(&self) -> Option<String> {
        let text = self.text.trim();
        if text.is_empty() {
            return None;
        }
        match self.parse() {
            Ok(Node::Scalar(scalar)) if !scalar.plain && text.starts_with(['\'', '"']) => Some(scalar.text),
            Ok(Node::Scalar(scalar))
                if scalar.plain && !scalar.text.is_empty() && text.starts_with(&scalar.text) =>
            {
                (!scalar.is_null()).then_some(scalar.text)
            }
            _ => Some(text.to_owned()),
        }
    }

    /// True when [`Through::keep_text`] cuts a comment off.
    pub(crate) fn loses_a_comment(&self) -> bool {
        let text = self.text.trim();
        !text.starts_with(['\'', '"']) && self.keep_text().is_some_and(|kept| kept.len() < text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::{Scalar, Typed};

    fn follow(value: &str, pairs: &[(&str, &str)]) -> Through {
        let node = Node::Scalar(Scalar { text: value.to_owned(), plain: true });
        let environment: Environment = pairs.iter().copied().collect();
        Reference::read(&node).expect("a reference").follow(&environment).expect("UTF-8")
    }

    fn typed(through: &Through) -> Typed {
        match through.parse() {
            Ok(Node::Scalar(scalar)) => scalar.typed(),
            _ => panic!("not a scalar"),
        }
    }

    #[test]
    fn the_variable_wins_then_the_default_then_null() {
        assert_eq!(typed(&follow("_env:A:x", &[("A", "y")])), Typed::Text("y".to_owned()));
        assert_eq!(typed(&follow("_env:A:x", &[])), Typed::Text("x".to_owned()));
        assert_eq!(typed(&follow("_env:A:", &[])), Typed::Null);
        assert_eq!(typed(&follow("_env:A", &[])), Typed::Null);
        // A variable set to nothing does not fall back to the default.
        assert_eq!(typed(&follow("_env:A:x", &[("A", "")])), Typed::Null);
    }

    #[test]
    fn the_default_may_contain_colons() {
        let through = follow("_env:A:sqlite:////tmp/docker-registry.db", &[]);
        assert_eq!(typed(&through), Typed::Text("sqlite:////tmp/docker-registry.db".to_owned()));
    }

    #[test]
    fn the_text_is_typed_as_yaml_1_1() {
        let vectors = [
            ("true", Typed::Boolean(true)),
            ("off", Typed::Boolean(false)),
            ("42", Typed::Integer(42)),
            ("0123", Typed::Integer(83)),
            ("1:30", Typed::Integer(90)),
            ("1.5", Typed::Float(1.5)),
            ("''", Typed::Text(String::new())),
            ("\"42\"", Typed::Text("42".to_owned())),
            ("~", Typed::Null),
            ("text # a comment", Typed::Text("text".to_owned())),
            ("text#no comment", Typed::Text("text#no comment".to_owned())),
        ];
        for (text, value) in vectors {
            assert_eq!(typed(&follow("_env:A", &[("A", text)])), value, "{text}");
        }
        assert!(
            matches!(follow("_env:A", &[("A", "[a, b]")]).parse(), Ok(Node::List(items)) if items.len() == 2)
        );
        assert!(matches!(follow("_env:A", &[("A", r#"{"a": "b"}"#)]).parse(), Ok(Node::Map(_))));
        assert!(follow("_env:A", &[("A", "[a")]).parse().is_err());
    }

    #[test]
    fn a_key_that_holds_text_keeps_it() {
        let vectors = [
            ("0123", "0123"),
            ("yes", "yes"),
            ("1.50", "1.50"),
            ("@secret", "@secret"),
            ("%secret", "%secret"),
            ("*secret", "*secret"),
            ("&secret", "&secret"),
            ("&secret word", "&secret word"),
            ("!secret", "!secret"),
            ("{secret", "{secret"),
            ("[a, b]", "[a, b]"),
            ("a: b", "a: b"),
            ("#secret", "#secret"),
            ("'quoted'", "quoted"),
            ("\"it\\u0020is\"", "it is"),
            ("'half", "'half"),
            ("word # comment", "word"),
            ("  padded  ", "padded"),
            ("-----BEGIN KEY-----\nMII\n-----END KEY-----\n", "-----BEGIN KEY-----\nMII\n-----END KEY-----"),
        ];
        for (text, kept) in vectors {
            assert_eq!(follow("_env:A", &[("A", text)]).keep_text().as_deref(), Some(kept), "{text}");
        }
        for text in ["", " ", "~", "null"] {
            assert_eq!(follow("_env:A", &[("A", text)]).keep_text(), None, "{text}");
        }
        assert_eq!(follow("_env:A", &[("A", "''")]).keep_text().as_deref(), Some(""));
    }

    #[test]
    fn a_cut_comment_is_noticed() {
        assert!(follow("_env:A", &[("A", "pass #word")]).loses_a_comment());
        for text in ["pass#word", "'pass #word'", "pass", "", "[a]"] {
            assert!(!follow("_env:A", &[("A", text)]).loses_a_comment(), "{text}");
        }
    }
}
