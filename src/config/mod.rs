//! placeholder

pub struct Loaded {
    pub platform: crate::model::Platform,
    pub warnings: Vec<String>,
    pub config_file: Option<PathBuf>,
    pub projects: Vec<Project>,
}
use std::collections::BTreeMap;
use std::path::PathBuf;
pub struct DiskFiles;
pub struct Project {
    pub name: String,
}
pub struct Request {
    pub cwd: PathBuf,
    pub config_folder: Option<PathBuf>,
    pub env: BTreeMap<String, String>,
    pub file: Option<PathBuf>,
    pub name: Option<String>,
    pub stacks: Vec<PathBuf>,
    pub profiles: Vec<String>,
    pub images: Option<crate::model::ImagePolicy>,
}
pub struct ConfigErrors(pub Vec<String>);
pub fn load(_: &Request, _: &DiskFiles) -> Result<Loaded, ConfigErrors> {
    Err(ConfigErrors(vec![]))
}
pub fn canonical(_: &Project) -> String {
    String::new()
}
pub fn schema() -> serde_json::Value {
    serde_json::Value::Null
}
pub fn init_file() -> &'static str {
    ""
}
