//! The XML of the S3 API: a writer for answers, and the few questions that are asked of requests.

use std::fmt::Write;

use roxmltree::{Document, Node};

use super::error::{Code, Result};

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// An answer that is being written.
#[derive(Debug)]
pub struct Xml {
    out: String,
    root: &'static str,
}

impl Xml {
    pub fn new(root: &'static str) -> Self {
        let out = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{NAMESPACE}\">");
        Self { out, root }
    }

    /// Errors bear no namespace.
    pub fn error() -> Self {
        Self { out: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>".to_owned(), root: "Error" }
    }

    pub fn text(&mut self, name: &str, value: impl AsRef<str>) -> &mut Self {
        let _ = write!(self.out, "<{name}>");
        escape(value.as_ref(), &mut self.out);
        let _ = write!(self.out, "</{name}>");
        self
    }

    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.text(name, value.to_string())
    }

    pub fn within(&mut self, name: &str, inner: impl FnOnce(&mut Self)) -> &mut Self {
        let _ = write!(self.out, "<{name}>");
        inner(self);
        let _ = write!(self.out, "</{name}>");
        self
    }

    /// The one owner that everything here has.
    pub fn owner(&mut self, name: &str) -> &mut Self {
        self.within(name, |xml| {
            xml.text("ID", OWNER).text("DisplayName", OWNER);
        })
    }

    /// One grant to the owner, of everything: there are no access control lists.
    pub fn full_control(&mut self) -> &mut Self {
        self.owner("Owner").within("AccessControlList", |xml| {
            xml.within("Grant", |xml| {
                let _ = write!(
                    xml.out,
                    "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">\
                     <ID>{OWNER}</ID><DisplayName>{OWNER}</DisplayName></Grantee>"
                );
                xml.text("Permission", "FULL_CONTROL");
            });
        })
    }

    pub fn finish(mut self) -> String {
        let _ = write!(self.out, "</{}>", self.root);
        self.out
    }
}

const OWNER: &str = "macula";

/// Characters that XML has a use for, and those that it cannot hold as they are.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                let _ = write!(out, "&#x{:X};", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

/// Reads a document whose root has this name, and asks it.
///
/// # Errors
/// `MalformedXML` for what cannot be read or has another root, and what `ask` finds wrong.
pub fn read<T>(body: &[u8], root: &str, ask: impl FnOnce(Node<'_, '_>) -> Result<T>) -> Result<T> {
    let text = std::str::from_utf8(body).map_err(|_| Code::MalformedXML)?;
    let document = Document::parse(text).map_err(|_| Code::MalformedXML)?;
    let found = document.root_element();
    if found.tag_name().name() != root {
        return Err(Code::MalformedXML.into());
    }
    ask(found)
}

/// The children of this name.
pub fn all<'a, 'input: 'a>(node: Node<'a, 'input>, name: &'a str) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// The text of the first child of this name.
pub fn text<'a>(node: Node<'a, '_>, name: &'a str) -> Option<&'a str> {
    all(node, name).next().map(|child| child.text().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read_whatever_the_text() {
        let odd = "a<b>&\"c\r\nd\u{e9}";
        let mut xml = Xml::new("Result");
        xml.within("Inner", |xml| {
            xml.text("Key", odd).number("Size", 7);
        });
        let text = xml.finish();
        let read = read(text.as_bytes(), "Result", |root| {
            let inner = all(root, "Inner").next().unwrap();
            Ok((super::text(inner, "Key").unwrap().to_owned(), super::text(inner, "Size").unwrap().to_owned()))
        });
        assert_eq!(read.unwrap(), (odd.to_owned(), "7".to_owned()));
    }

    #[test]
    fn another_root_and_half_a_document_are_malformed() {
        for body in ["<Other/>", "<Result>", "", "\u{0}"] {
            assert_eq!(read(body.as_bytes(), "Result", |_| Ok(())).unwrap_err().code, Code::MalformedXML, "{body}");
        }
    }
}
