//! What a Dockerfile says, as far as it decides how and when it is built
//! (<https://docs.docker.com/reference/dockerfile/>).

use std::collections::BTreeMap;

/// Version of the Dockerfile format, `1.4`: BuildKit's front ends count so.
pub type FormatVersion = (u16, u16);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// `# syntax=docker/dockerfile:1`: the front end that reads it.
    pub syntax: Option<String>,
    pub instructions: Vec<Instruction>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instruction {
    /// From 1.
    pub line: u32,
    /// In capitals.
    pub name: String,
    /// `--mount=type=cache` as (`--mount`, `type=cache`).
    pub flags: Vec<(String, String)>,
    /// What follows the flags, in one line.
    pub rest: String,
    /// It goes on with lines of its own up to a word.
    pub heredoc: bool,
}

/// What an engine's BuildKit must know to build it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// From 1.
    pub line: u32,
    /// `RUN --mount`.
    pub what: String,
    pub version: FormatVersion,
}

/// The first BuildKit that Docker had built in read this.
pub const FIRST_FORMAT: FormatVersion = (1, 2);
/// Since when a build has contexts with names.
pub const NAMED_CONTEXTS: FormatVersion = (1, 4);

impl Dockerfile {
    pub fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        let mut escape = '\\';
        let mut lines = text.trim_start_matches('\u{feff}').lines().zip(1_u32..).peekable();
        // directives stand before everything else
        while let Some((key, value)) = lines.peek().and_then(|(line, _)| directive(line)) {
            match key.as_str() {
                "syntax" => parsed.syntax = Some(value),
                "escape" if value == "`" => escape = '`',
                _ => {}
            }
            lines.next();
        }
        while let Some((line, number)) = lines.next() {
            if is_nothing(line) {
                continue;
            }
            let mut whole = line.trim().to_owned();
            while whole.ends_with(escape) {
                whole.pop();
                let more = lines.find(|(line, _)| !is_nothing(line));
                let Some((more, _)) = more else { break };
                whole.push(' ');
                whole.push_str(more.trim());
            }
            let instruction = Instruction::parse(&whole, number);
            for (word, tabs) in instruction.heredocs() {
                let is_end = |line: &str| if tabs { line.trim_start_matches('\t') == word } else { line == word };
                // one that never ends takes the rest, as the builder's own error will say
                let _ = lines.find(|(line, _)| is_end(line));
            }
            parsed.instructions.push(instruction);
        }
        parsed
    }

    /// What only BuildKit can do of it, in the order of the lines.
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        for instruction in &self.instructions {
            let name = instruction.name.as_str();
            let mut add = |what: String, version| needs.push(Need { line: instruction.line, what, version });
            for (flag, _) in &instruction.flags {
                if let Some(version) = since(name, flag) {
                    add(format!("`{name} {flag}`"), version);
                }
            }
            if instruction.heredoc {
                add(format!("a here-document of `{name}`"), (1, 4));
            }
        }
        needs
    }

    /// Files of the context come into the image, or may.
    pub fn reads_context(&self) -> bool {
        self.instructions.iter().any(|instruction| {
            let from = |options: &str| options.split(',').any(|option| option.trim_start().starts_with("from="));
            match instruction.name.as_str() {
                "COPY" | "ADD" => !instruction.flags.iter().any(|(flag, _)| flag == "--from"),
                "RUN" => instruction.flags.iter().any(|(flag, options)| {
                    let binds = !options.split(',').any(|option| {
                        option.trim_start().strip_prefix("type=").is_some_and(|kind| kind.trim() != "bind")
                    });
                    flag == "--mount" && binds && !from(options)
                }),
                _ => false,
            }
        })
    }

    /// TCP ports that the last stage, or the one called `target`, exposes, with those of the stages that it is made
    /// from, in their order. `args`: what the build is given. A number that only the builder would know is left out.
    pub fn exposed(&self, target: Option<&str>, args: &BTreeMap<String, String>) -> Vec<u16> {
        let mut global: BTreeMap<String, String> = BTreeMap::new();
        let mut stages: Vec<Stage> = Vec::new();
        for instruction in &self.instructions {
            match (instruction.name.as_str(), stages.last_mut()) {
                ("FROM", _) => {
                    let words: Vec<&str> = instruction.rest.split_whitespace().collect();
                    let name = match words.as_slice() {
                        [_, word, name, ..] if word.eq_ignore_ascii_case("as") => Some((*name).to_owned()),
                        _ => None,
                    };
                    let base = words.first().and_then(|base| substituted(base, &global));
                    let base = base.and_then(|base| stages.iter().find(|stage| stage.is_called(&base)).cloned());
                    stages.push(Stage { name, ..base.unwrap_or_default() });
                }
                ("ARG", mut stage) => {
                    for word in words(&instruction.rest) {
                        let (name, default) = word.split_once('=').map_or((word.as_str(), None), |(a, b)| (a, Some(b)));
                        let known = stage.as_ref().map_or(&global, |stage| &stage.variables);
                        let default = default.and_then(|text| substituted(unquoted(text), known));
                        let from_top = || stage.as_ref().and_then(|_| global.get(name).cloned());
                        let Some(value) = args.get(name).cloned().or(default).or_else(from_top) else { continue };
                        match &mut stage {
                            Some(stage) => stage.variables.insert(name.to_owned(), value),
                            None => global.insert(name.to_owned(), value),
                        };
                    }
                }
                ("ENV", Some(stage)) => {
                    let pairs: Vec<(String, String)> = match words(&instruction.rest).as_slice() {
                        [name, value] if !name.contains('=') => vec![(name.clone(), value.clone())],
                        all => all.iter().filter_map(|word| word.split_once('=')).map(owned).collect(),
                    };
                    for (name, value) in pairs {
                        match substituted(unquoted(&value), &stage.variables) {
                            Some(value) => stage.variables.insert(name, value),
                            None => stage.variables.remove(&name),
                        };
                    }
                }
                ("EXPOSE", Some(stage)) => {
                    let all = instruction.rest.split_whitespace();
                    let all = all.filter_map(|word| substituted(unquoted(word), &stage.variables));
                    let ports: Vec<u16> = all.flat_map(|text| ports(&text)).collect();
                    for port in ports {
                        if !stage.exposed.contains(&port) {
                            stage.exposed.push(port);
                        }
                    }
                }
                _ => {}
            }
        }
        let number = target.and_then(|target| target.parse::<usize>().ok());
        let wanted = match target {
            None | Some("") => stages.last(),
            Some(target) => {
                let named = stages.iter().find(|stage| stage.is_called(target));
                named.or_else(|| number.and_then(|number| stages.get(number)))
            }
        };
        wanted.map(|stage| stage.exposed.clone()).unwrap_or_default()
    }

    /// Line of an instruction that a builder quotes, from 1.
    pub fn line_of(&self, quoted: &str) -> Option<u32> {
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let wanted = plain(quoted);
        let found = self.instructions.iter().find(|instruction| plain(&instruction.text()) == wanted);
        found.map(|instruction| instruction.line)
    }
}

/// A stage of a build, as far as its ports are concerned.
#[derive(Clone, Default)]
struct Stage {
    name: Option<String>,
    variables: BTreeMap<String, String>,
    exposed: Vec<u16>,
}

impl Stage {
    fn is_called(&self, name: &str) -> bool {
        self.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

/// `8080`, `8080/tcp`, `8080-8082`; nothing for other protocols.
fn ports(text: &str) -> Vec<u16> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if protocol.eq_ignore_ascii_case("tcp") && first > 0 => (first..=last).collect(),
        _ => Vec::new(),
    }
}

/// `$NAME`, `${NAME}`, `${NAME:-default}`. `None`: there is a variable without a value, or something else behind it.
fn substituted(text: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    let Some((before, rest)) = text.split_once('$') else { return Some(text.to_owned()) };
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let (value, rest) = match rest.strip_prefix('{') {
        Some(inside) => {
            let (inside, rest) = inside.split_once('}')?;
            let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, text)| (name, Some(text)));
            if !name.chars().all(is_part) || default.is_some_and(|default| default.contains('$')) {
                return None;
            }
            let value = variables.get(name).filter(|value| default.is_none() || !value.is_empty());
            (value.cloned().or(default.map(str::to_owned))?, rest)
        }
        None => {
            let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            (variables.get(name)?.clone(), rest)
        }
    };
    Some(format!("{before}{value}{}", substituted(rest, variables)?))
}

/// Since when a flag is in the format; `None`: the classic builder knows it, or nobody does.
fn since(instruction: &str, flag: &str) -> Option<FormatVersion> {
    Some(match (instruction, flag) {
        ("RUN", "--mount") | ("COPY" | "ADD", "--chmod") => (1, 2),
        ("RUN", "--network") => (1, 3),
        ("COPY" | "ADD", "--link") => (1, 4),
        ("ADD", "--checksum" | "--keep-git-dir") => (1, 6),
        ("RUN", "--device") => (1, 14),
        ("ADD", "--unpack") => (1, 17),
        ("COPY" | "ADD", "--exclude") => (1, 19),
        ("COPY", "--parents") | ("RUN", "--security") => (1, 20),
        _ => return None,
    })
}

impl Instruction {
    fn parse(whole: &str, line: u32) -> Self {
        let (name, mut rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
        let name = name.to_ascii_uppercase();
        let mut flags = Vec::new();
        loop {
            rest = rest.trim_start();
            let Some(word) = rest.split_whitespace().next().filter(|word| word.starts_with("--")) else { break };
            let (flag, value) = word.split_once('=').unwrap_or((word, ""));
            flags.push((flag.to_owned(), value.to_owned()));
            rest = rest.get(word.len()..).unwrap_or_default();
        }
        let mut instruction = Self { line, name, flags, rest: rest.to_owned(), heredoc: false };
        instruction.heredoc = !instruction.heredocs().is_empty();
        instruction
    }

    /// Words that end its here-documents, and whether tabs before them are dropped.
    fn heredocs(&self) -> Vec<(String, bool)> {
        let takes = |name: &str| matches!(name, "RUN" | "COPY" | "ADD");
        let within = self.rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if !(takes(&self.name) || self.name == "ONBUILD" && takes(&within)) {
            return Vec::new();
        }
        words(&self.rest).iter().filter_map(|word| heredoc(word)).collect()
    }

    fn text(&self) -> String {
        let mut text = self.name.clone();
        for (flag, value) in &self.flags {
            text.push(' ');
            text.push_str(flag);
            if !value.is_empty() {
                text.push('=');
                text.push_str(value);
            }
        }
        text.push(' ');
        text.push_str(&self.rest);
        text
    }
}

/// `# key=value`
fn directive(line: &str) -> Option<(String, String)> {
    let (key, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let key = key.trim().to_ascii_lowercase();
    let is_word = !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric());
    is_word.then(|| (key, value.trim().to_owned()))
}

fn is_nothing(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// Words of a shell, their quotes and backslashes kept.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (letter, None) if letter.is_whitespace() => {
                words.push(String::new());
                continue;
            }
            ('\'' | '"', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            _ => {}
        }
        let Some(word) = words.last_mut() else { break };
        word.push(letter);
        if letter == '\\' && quote != Some('\'') {
            word.extend(letters.next());
        }
    }
    words
}

/// `<<EOF`, `<<-EOF`, `3<<"EOF"`, and not `<<<` or arithmetic.
fn heredoc(word: &str) -> Option<(String, bool)> {
    let rest = word.trim_start_matches(|digit: char| digit.is_ascii_digit()).strip_prefix("<<")?;
    let (tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let name = rest.trim_matches(['"', '\'']);
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && !rest.contains('<');
    is_name.then(|| (name.to_owned(), tabs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(text: &str) -> Vec<(u32, String, FormatVersion)> {
        Dockerfile::parse(text).needs().into_iter().map(|need| (need.line, need.what, need.version)).collect()
    }

    #[test]
    fn what_needs_buildkit_is_found_with_its_line() {
        for (text, want) in [
            ("FROM a\nRUN make\nCOPY --from=x --chown=1 a b\nADD x y\n", None),
            ("FROM a\nRUN --mount=type=cache,target=/x make\n", Some((2, "`RUN --mount`", (1, 2)))),
            ("FROM a\n# RUN --mount=x\nrun \\\n# why\n\n  --network=none make\n", Some((3, "`RUN --network`", (1, 3)))),
            ("FROM a\nCOPY --chown=1 --chmod=755 a b\n", Some((2, "`COPY --chmod`", (1, 2)))),
            ("# escape=`\nFROM a\nCOPY `\n --link a b\n", Some((3, "`COPY --link`", (1, 4)))),
            ("# escape=\\\nFROM a\nRUN \\\n --mount=x y\n", Some((3, "`RUN --mount`", (1, 2)))),
            ("FROM a\nADD --checksum=sha256:1 a b\n", Some((2, "`ADD --checksum`", (1, 6)))),
            ("FROM a\nADD --keep-git-dir=true a b\n", Some((2, "`ADD --keep-git-dir`", (1, 6)))),
            ("FROM a\nRUN --device=x y\n", Some((2, "`RUN --device`", (1, 14)))),
            ("FROM a\nADD --unpack=true a b\n", Some((2, "`ADD --unpack`", (1, 17)))),
            ("FROM a\nCOPY --exclude=x a b\n", Some((2, "`COPY --exclude`", (1, 19)))),
            ("FROM a\nCOPY --parents a b\n", Some((2, "`COPY --parents`", (1, 20)))),
            ("FROM a\nRUN --security=insecure x\n", Some((2, "`RUN --security`", (1, 20)))),
            ("FROM a\nONBUILD RUN <<EOF\nx\nEOF\n", Some((2, "a here-document of `ONBUILD`", (1, 4)))),
            ("FROM a\nLABEL RUN <<EOF\n", None),
            ("FROM a\nRUN echo \"a\" <<_E\nx\n_E\n", Some((2, "a here-document of `RUN`", (1, 4)))),
            // a backslash keeps a quote from being one, but not between single quotes
            ("FROM a\nRUN echo \\\" <<EOF\nx\nEOF\n", Some((2, "a here-document of `RUN`", (1, 4)))),
            ("FROM a\nRUN echo '\\' <<EOF\nx\nEOF\n", Some((2, "a here-document of `RUN`", (1, 4)))),
            ("FROM a\nRUN sh -c \"cat <<EOF\"\n", None),
            ("FROM a\nRUN x <<2\n", None),
            ("FROM a\nRUN <<EOF\nmake\nEOF\n", Some((2, "a here-document of `RUN`", (1, 4)))),
            ("FROM a\nCOPY <<-\"EOF\" /x\ny\n\tEOF\n", Some((2, "a here-document of `COPY`", (1, 4)))),
            ("FROM a\nRUN cat <<<x && echo $((1 << 2)) \"--mount\"\n", None),
            ("FROM a\nRUN sh -c \"cat <<EOF\" '<<X'\nRUN make --mount\n", None),
        ] {
            let found = needs(text);
            let found = found.first().map(|(line, what, version)| (*line, what.as_str(), *version));
            assert_eq!(found, want, "{text}");
        }
    }

    #[test]
    fn what_stands_in_a_here_document_is_no_instruction() {
        let text = "FROM a\nRUN <<A cat <<B\nCOPY --link x y\nA\nRUN --mount=x\nB\nCOPY --chmod=1 a b\n";
        let lines: Vec<u32> = needs(text).iter().map(|need| need.0).collect();
        assert_eq!(lines, [2, 7]);
        // tabs before its end are dropped only where that is said
        for (begin, lines) in [("<<-E", vec![2, 6]), ("<<E", vec![2])] {
            let text = format!("FROM a\nRUN {begin}\n\tx\n\tCOPY --link a b\n\tE\nCOPY --chmod=1 a b\n");
            assert_eq!(needs(&text).iter().map(|need| need.0).collect::<Vec<_>>(), lines, "{begin}");
        }
    }

    #[test]
    fn the_directive_is_read_only_at_the_top() {
        assert_eq!(
            Dockerfile::parse("#syntax = docker/dockerfile:1\nFROM a").syntax.as_deref(),
            Some("docker/dockerfile:1")
        );
        assert_eq!(Dockerfile::parse("# a comment\n# syntax=x\nFROM a").syntax, None);
        assert_eq!(Dockerfile::parse("# a comment = x\n# syntax=x\nFROM a").syntax, None);
        assert_eq!(Dockerfile::parse("FROM a\n# syntax=x\n").syntax, None);
    }

    #[test]
    fn a_build_that_takes_no_file_of_the_context_is_told() {
        for (text, reads) in [
            ("FROM a\nRUN make\n", false),
            ("FROM a\nCOPY --from=b /x /y\n", false),
            ("FROM a\nCOPY x /y\n", true),
            ("FROM a\nADD http://x/y /y\n", true),
            ("FROM a\nRUN --mount=type=cache,target=/c make\n", false),
            ("FROM a\nRUN --mount=target=/c make\n", true),
            ("FROM a\nRUN --mount=type=bind,from=b,target=/c make\n", false),
        ] {
            assert_eq!(Dockerfile::parse(text).reads_context(), reads, "{text}");
        }
    }

    #[test]
    fn ports_are_those_of_the_stage_that_is_built() {
        let args: BTreeMap<String, String> = [("PORT".to_owned(), "9000".to_owned())].into();
        for (text, target, ports) in [
            ("FROM a\nEXPOSE 80 443/tcp 53/udp\nexpose 8000-8002 80\n", None, vec![80, 443, 8000, 8001, 8002]),
            ("FROM a AS build\nEXPOSE 1\nFROM b\nEXPOSE 2\n", None, vec![2]),
            ("FROM a AS base\nEXPOSE 1\nFROM base as dev\nEXPOSE 2\nFROM c\n", Some("DEV"), vec![1, 2]),
            ("FROM a\nEXPOSE 1\nFROM b\nEXPOSE 2\n", Some("0"), vec![1]),
            ("FROM a\nEXPOSE 1\n", Some("gone"), vec![]),
            ("ARG PORT=80\nFROM a\nARG PORT\nEXPOSE $PORT\n", None, vec![9000]),
            ("ARG OTHER=80\nFROM a\nARG OTHER\nEXPOSE ${OTHER}/tcp\n", None, vec![80]),
            ("FROM a\nENV A=81 B=\"82\"\nENV C 83\nEXPOSE $A $B ${C} ${D:-84}\n", None, vec![81, 82, 83, 84]),
            ("FROM a\nENV A=81 A_B=85 E=\nEXPOSE ${A:-84} $A_B/tcp ${E:-86}\n", None, vec![81, 85, 86]),
            ("FROM a is base\nEXPOSE 1\nFROM b\n", Some("base"), vec![]),
            ("FROM a\nEXPOSE 0 5\n", None, vec![5]),
            // what only the builder knows is left out
            ("FROM a\nEXPOSE ${A+x:-5} 6\n", None, vec![6]),
            ("FROM a\nEXPOSE $FROM_THE_BASE ${A:+1} 5 none\n", None, vec![5]),
            ("FROM a\nRUN <<E\nEXPOSE 1\nE\n", None, vec![]),
            ("EXPOSE 1\n", None, vec![]),
        ] {
            assert_eq!(Dockerfile::parse(text).exposed(target, &args), ports, "{text}");
        }
    }

    #[test]
    fn a_quoted_instruction_has_its_line() {
        let file = Dockerfile::parse("FROM a\nRUN --mount=type=cache,target=/x \\\n   make   all\n");
        assert_eq!(file.line_of("RUN --mount=type=cache,target=/x make all"), Some(2));
        assert_eq!(file.line_of("RUN other"), None);
    }
}
