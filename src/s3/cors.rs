//! What web pages of other names may do: by the bucket's own rules, else what every signed request
//! may.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};

use super::error::{Code, Error, Result};
use super::request::Call;
use super::xml::{self, Xml};

/// One of a bucket's `CORSRule`s.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub methods: Vec<String>,
    pub origins: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u32>,
}

/// # Errors
/// `MalformedXML` for what is not a configuration, `InvalidRequest` for a method that S3 has not.
pub fn parse(body: &[u8]) -> Result<Vec<Rule>> {
    xml::read(body, "CORSConfiguration", |root| {
        let rules = xml::all(root, "CORSRule").map(|rule| {
            let texts = |name| -> Vec<String> {
                xml::all(rule, name).filter_map(|node| node.text().map(str::to_owned)).collect()
            };
            let max_age = xml::text(rule, "MaxAgeSeconds").map(str::parse).transpose();
            Ok(Rule {
                id: xml::text(rule, "ID").map(str::to_owned),
                methods: texts("AllowedMethod"),
                origins: texts("AllowedOrigin"),
                headers: texts("AllowedHeader"),
                expose: texts("ExposeHeader"),
                max_age: max_age.map_err(|_| Code::MalformedXML)?,
            })
        });
        let rules: Vec<Rule> = rules.collect::<Result<_>>()?;
        if rules.is_empty()
            || rules.len() > 100
            || rules.iter().any(|rule| rule.methods.is_empty() || rule.origins.is_empty())
        {
            return Err(Code::MalformedXML.into());
        }
        let mut methods = rules.iter().flat_map(|rule| &rule.methods);
        match methods.find(|method| !["GET", "PUT", "POST", "DELETE", "HEAD"].contains(&method.as_str())) {
            Some(method) => Err(Error::new(
                Code::InvalidRequest,
                format!("Found unsupported HTTP method in CORS config. Unsupported method is {method}"),
            )),
            None => Ok(rules),
        }
    })
}

pub fn write(rules: &[Rule]) -> String {
    let mut xml = Xml::new("CORSConfiguration");
    for rule in rules {
        xml.within("CORSRule", |xml| {
            if let Some(id) = &rule.id {
                xml.text("ID", id);
            }
            let lists = [
                ("AllowedMethod", &rule.methods),
                ("AllowedOrigin", &rule.origins),
                ("AllowedHeader", &rule.headers),
                ("ExposeHeader", &rule.expose),
            ];
            for (name, value) in lists.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value))) {
                xml.text(name, value);
            }
            if let Some(seconds) = rule.max_age {
                xml.number("MaxAgeSeconds", seconds.into());
            }
        });
    }
    xml.finish()
}

/// The headers of an answer to a page of another origin; nothing without an `Origin`.
pub fn answer(call: &Call, rules: &[Rule]) -> HeaderMap {
    let Some(origin) = call.header("origin") else { return HeaderMap::new() };
    allow(rules, &origin, &call.method, &[]).unwrap_or_default()
}

/// Before the request itself, a browser asks whether it may.
///
/// # Errors
/// `AccessForbidden` where no rule fits.
pub fn preflight(call: &Call, rules: &[Rule]) -> Result<HeaderMap> {
    let missing = |name: &str| {
        Error::new(Code::InvalidRequest, format!("Insufficient information. {name} request header needed."))
    };
    let origin = call.header("origin").ok_or_else(|| missing("Origin"))?;
    let method =
        call.header("access-control-request-method").ok_or_else(|| missing("Access-Control-Request-Method"))?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Code::InvalidRequest)?;
    let asked = call.header("access-control-request-headers").unwrap_or_default().to_ascii_lowercase();
    let asked: Vec<&str> = asked.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let mut headers = allow(rules, &origin, &method, &asked).ok_or(Code::AccessForbidden)?;
    if !asked.is_empty() {
        set(&mut headers, header::ACCESS_CONTROL_ALLOW_HEADERS, &asked.join(", "));
    }
    Ok(headers)
}

/// Every request has to be signed, so that a page can do no more than whoever gave it a signature.
fn everyone() -> Rule {
    let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Rule {
        methods: texts(&["GET", "PUT", "POST", "DELETE", "HEAD"]),
        origins: texts(&["*"]),
        headers: texts(&["*"]),
        // the names are for browsers that do not know `*`
        expose: texts(&[
            "*",
            "ETag",
            "Content-Length",
            "Content-Range",
            "Last-Modified",
            "x-amz-request-id",
            "x-amz-version-id",
        ]),
        ..Rule::default()
    }
}

fn allow(rules: &[Rule], origin: &str, method: &Method, asked: &[&str]) -> Option<HeaderMap> {
    let everyone = [everyone()];
    let rules = if rules.is_empty() { &everyone } else { rules };
    let rule = rules.iter().find(|rule| {
        rule.methods.iter().any(|allowed| allowed == method.as_str())
            && rule.origins.iter().any(|allowed| matches(allowed, origin))
            && asked.iter().all(|name| rule.headers.iter().any(|allowed| matches(&allowed.to_ascii_lowercase(), name)))
    })?;
    let any = rule.origins.iter().any(|allowed| allowed == "*");
    let mut headers = HeaderMap::new();
    set(&mut headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, if any { "*" } else { origin });
    set(&mut headers, header::ACCESS_CONTROL_ALLOW_METHODS, &rule.methods.join(", "));
    if !rule.expose.is_empty() {
        set(&mut headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, &rule.expose.join(", "));
    }
    if let Some(seconds) = rule.max_age {
        set(&mut headers, header::ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
    }
    set(&mut headers, header::VARY, "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
    Some(headers)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// One `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "<CORSConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><CORSRule>\
        <AllowedMethod>PUT</AllowedMethod><AllowedOrigin>https://*.shop.test</AllowedOrigin>\
        <AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds>\
        </CORSRule></CORSConfiguration>";

    fn call(origin: &str, method: &str, headers: &str) -> Call {
        let request = http::Request::options("/bucket/key")
            .header("origin", origin)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", headers);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Call::new(&parts, &[]).unwrap()
    }

    #[test]
    fn without_rules_every_page_may_ask() {
        let headers = preflight(&call("https://shop.test", "PUT", "Content-Type"), &[]).unwrap();
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(headers["access-control-allow-headers"], "content-type");
        assert_eq!(
            headers["access-control-expose-headers"],
            "*, ETag, Content-Length, Content-Range, Last-Modified, x-amz-request-id, x-amz-version-id"
        );
    }

    #[test]
    fn with_rules_only_what_they_say() {
        let rules = parse(RULES.as_bytes()).unwrap();
        assert_eq!(parse(write(&rules).as_bytes()).unwrap(), rules);
        let headers = preflight(&call("https://a.shop.test", "PUT", "x-amz-date"), &rules).unwrap();
        assert_eq!(headers["access-control-allow-origin"], "https://a.shop.test");
        assert_eq!(headers["access-control-max-age"], "60");
        for (origin, method, header) in [
            ("https://shop.test", "PUT", ""),
            ("https://a.shop.test", "GET", ""),
            ("https://a.shop.test", "PUT", "cookie"),
        ] {
            assert_eq!(preflight(&call(origin, method, header), &rules).unwrap_err().code, Code::AccessForbidden);
        }
    }

    #[test]
    fn rules_that_say_nothing_are_refused() {
        let rule = |inner: &str| format!("<CORSConfiguration><CORSRule>{inner}</CORSRule></CORSConfiguration>");
        let code = |text: &str| parse(text.as_bytes()).unwrap_err().code;
        assert_eq!(code("<CORSConfiguration/>"), Code::MalformedXML);
        assert_eq!(code(&rule("<AllowedMethod>GET</AllowedMethod>")), Code::MalformedXML);
        let odd = "<AllowedMethod>PATCH</AllowedMethod><AllowedOrigin>*</AllowedOrigin>";
        assert_eq!(code(&rule(odd)), Code::InvalidRequest);
    }
}
