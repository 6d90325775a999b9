//! placeholder until config lands
pub fn render(_name: &str, _source: &str, _context: &impl serde::Serialize) -> Result<String, String> {
    Ok(String::new())
}
