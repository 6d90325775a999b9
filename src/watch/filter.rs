//! Which files a rule is about: `include` and `ignore` of the rule, `.dockerignore` of the build, what Git ignores, and
//! what editors and Git leave beside the files.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::config::{DiskFiles, Files};
use crate::engine::PathRules;
use crate::model::WatchRule;

/// How long `.dockerignore` may be, bytes.
const LONGEST_RULES: u64 = 4 << 20;

/// Written by editors and by Git for themselves.
const EPHEMERAL: &str = "**/.git
**/.hg
**/.svn
**/.idea
**/*~
**/*.sw[a-p]
**/*.swx
**/.#*
**/#*#
**/.DS_Store
**/4913
**/*___jb_tmp___
**/*___jb_old___
**/.~lock.*
**/.goutputstream-*";

pub struct Filter {
    path: PathBuf,
    include: Option<PathRules>,
    /// Each with the folder that its patterns are relative to.
    ignore: Vec<(PathBuf, PathRules)>,
    git: Option<Git>,
}

impl Filter {
    /// `context`: of the service's build. `git`: what Git ignores is left out. The error: a pattern that is not valid.
    pub fn new(rule: &WatchRule, context: Option<&Path>, git: bool) -> std::io::Result<Self> {
        let parse = |patterns: &[String]| PathRules::parse(&patterns.join("\n"));
        let mut ignore = vec![(rule.path.clone(), PathRules::parse(EPHEMERAL)?)];
        if !rule.ignore.is_empty() {
            ignore.push((rule.path.clone(), parse(&rule.ignore)?));
        }
        if let Some(context) = context {
            let rules = DiskFiles.read(&context.join(".dockerignore"), LONGEST_RULES).unwrap_or_default();
            ignore.push((context.to_owned(), PathRules::parse(&String::from_utf8_lossy(&rules))?));
        }
        let include = (!rule.include.is_empty()).then(|| parse(&rule.include)).transpose()?;
        let mut git = if git { Git::of(&rule.path) } else { None };
        // who names an ignored folder wants it
        if git.as_ref().is_some_and(|git| git.leaves_out(&rule.path, rule.path.is_dir())) {
            git = None;
        }
        Ok(Self { path: rule.path.clone(), include, ignore, git })
    }

    /// Whether a folder need not be looked into.
    pub fn skips_folder(&self, folder: &Path) -> bool {
        if folder == self.path {
            return false;
        }
        let out = |(base, rules): &(PathBuf, PathRules)| {
            below(base, folder).is_some_and(|path| rules.leaves_out(&path) && !rules.may_take_back_below(&path))
        };
        self.ignore.iter().any(out)
            || (self.include.is_none() && self.git.as_ref().is_some_and(|git| git.leaves_out(folder, true)))
    }

    /// Whether the rule is about a path that is, or was, there.
    pub fn takes(&self, path: &Path, folder: bool) -> bool {
        let Some(relative) = below(&self.path, path) else { return false };
        let out = |(base, rules): &(PathBuf, PathRules)| {
            below(base, path).is_some_and(|path| !path.is_empty() && rules.leaves_out(&path))
        };
        if self.ignore.iter().any(out) {
            return false;
        }
        match &self.include {
            // a file that is the rule's whole path is named by it
            Some(include) if !relative.is_empty() => include.leaves_out(&relative),
            _ => !self.git.as_ref().is_some_and(|git| git.leaves_out(path, folder)),
        }
    }

    /// A file of rules may have changed.
    pub fn forget(&self, path: &Path) {
        if let Some(git) = self.git.as_ref().filter(|_| path.file_name().is_some_and(|name| name == ".gitignore")) {
            git.known.borrow_mut().clear();
        }
    }
}

/// The path as patterns have it: relative, with `/`.
fn below(base: &Path, path: &Path) -> Option<String> {
    path.strip_prefix(base).ok().map(|path| path.to_string_lossy().into_owned())
}

/// What Git ignores in a repository.
struct Git {
    root: PathBuf,
    /// Folder -> its own rules.
    known: RefCell<HashMap<PathBuf, Gitignore>>,
}

impl Git {
    fn of(path: &Path) -> Option<Self> {
        let root = path.ancestors().find(|folder| folder.join(".git").exists())?;
        Some(Self { root: root.to_owned(), known: RefCell::default() })
    }

    /// It, or a folder that it is in.
    fn leaves_out(&self, path: &Path, folder: bool) -> bool {
        let inside = path.ancestors().take_while(|one| *one != self.root);
        let parts: Vec<&Path> = inside.collect();
        parts.iter().rev().any(|part| self.matches(part, folder || *part != path))
    }

    /// By the rules of the nearest folder that says something.
    fn matches(&self, path: &Path, folder: bool) -> bool {
        let mut known = self.known.borrow_mut();
        for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)) {
            let rules = known.entry(above.to_owned()).or_insert_with(|| {
                let mut rules = GitignoreBuilder::new(above);
                rules.add(above.join(".gitignore"));
                if above == self.root {
                    rules.add(above.join(".git/info/exclude"));
                }
                // a pattern that is not valid is no pattern
                rules.build().unwrap_or_else(|_| Gitignore::empty())
            });
            match rules.matched(path, folder) {
                ignore::Match::Ignore(_) => return true,
                ignore::Match::Whitelist(_) => return false,
                ignore::Match::None => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WatchAction;

    fn write(folder: &Path, file: &str, content: &str) {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn rule(folder: &Path, below: &str) -> WatchRule {
        WatchRule::new(folder.join(below), WatchAction::Sync)
    }

    #[test]
    fn ignore_and_dockerignore_and_editors() {
        let folder = tempfile::TempDir::new().unwrap();
        let root = folder.path();
        write(root, ".dockerignore", "*.log\n!keep.log\n");
        let rule = WatchRule { ignore: vec!["node_modules/".into(), "*.test.js".into()], ..rule(root, "src") };
        std::fs::create_dir(root.join("src")).unwrap();
        let filter = Filter::new(&rule, Some(root), true).unwrap();
        let takes = |file: &str| filter.takes(&root.join(file), false);
        assert!(takes("src/a.js") && takes("src/deep/a.js"));
        assert!(!takes("src/a.test.js") && !takes("src/node_modules/x/index.js"));
        assert!(filter.skips_folder(&root.join("src/node_modules")) && !filter.skips_folder(&root.join("src")));
        assert!(!takes("src/.a.js.swp") && !takes("src/a.js~") && !takes("src/.git/HEAD"));
        assert!(!takes("other/a.js"), "not below the rule's path");
        let whole = Filter::new(&WatchRule::new(root.to_owned(), WatchAction::Sync), Some(root), true).unwrap();
        assert!(!whole.takes(&root.join("x.log"), false) && whole.takes(&root.join("keep.log"), false));
    }

    #[test]
    fn include_names_what_counts() {
        let root = Path::new("/p");
        let rule = WatchRule { include: vec!["**/*.py".into(), "templates".into()], ..rule(root, "src") };
        let filter = Filter::new(&rule, None, true).unwrap();
        let takes = |file: &str| filter.takes(&root.join(file), false);
        assert!(takes("src/a.py") && takes("src/deep/a.py") && takes("src/templates/x.html"));
        assert!(!takes("src/a.js"));
    }

    #[test]
    fn what_git_ignores_stays_out_unless_it_is_named() {
        let folder = tempfile::TempDir::new().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join(".git")).unwrap();
        write(root, ".gitignore", "/dist\n*.pyc\n");
        write(root, "src/.gitignore", "!kept.pyc\nlocal/\n");
        std::fs::create_dir(root.join("dist")).unwrap();
        let filter = Filter::new(&rule(root, ""), None, true).unwrap();
        let takes = |file: &str| filter.takes(&root.join(file), false);
        assert!(takes("src/a.py") && takes("src/kept.pyc") && takes("src/dist/x"));
        assert!(!takes("a.pyc") && !takes("dist/a/b.js") && !takes("src/local/x"));
        assert!(filter.skips_folder(&root.join("dist")) && filter.skips_folder(&root.join("src/local")));
        // with the switch off, named by its path, or by `include`
        assert!(Filter::new(&rule(root, ""), None, false).unwrap().takes(&root.join("a.pyc"), false));
        assert!(Filter::new(&rule(root, "dist"), None, true).unwrap().takes(&root.join("dist/a"), false));
        let include = WatchRule { include: vec!["*.pyc".into()], ..rule(root, "") };
        assert!(Filter::new(&include, None, true).unwrap().takes(&root.join("a.pyc"), false));
        // rules change
        write(root, ".gitignore", "");
        filter.forget(&root.join(".gitignore"));
        assert!(filter.takes(&root.join("a.pyc"), false));
    }
}
