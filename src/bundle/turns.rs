//! In which order the images of a bundle go to an engine, and what of each need not go at all. Pure.

/// What holds for one image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// How many of its lowest layers the engine has.
    pub there: usize,
    /// An earlier image that brings more of them, and how many there are then.
    pub then: Option<(usize, usize)>,
}

/// `images`: the layers of each, in the order in which they are wanted; `engine`: those of images that the engine has.
pub fn turns(images: &[&[String]], engine: &[Vec<String>]) -> Vec<Turn> {
    let mut all: Vec<Turn> = Vec::with_capacity(images.len());
    for (at, layers) in images.iter().enumerate() {
        let there = engine.iter().map(|other| common(layers, other)).max().unwrap_or_default();
        let mut then: Option<(usize, usize)> = None;
        // of those that bring the same the first one is the first to be done
        for (before, other) in images.iter().enumerate().take(at) {
            let count = common(layers, other);
            if count > then.map_or(there, |(_, known)| known) {
                then = Some((before, count));
            }
        }
        all.push(Turn { there, then });
    }
    all
}

/// A layer is the same only on top of the same ones.
fn common(one: &[String], other: &[String]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(names: &str) -> Vec<String> {
        names.chars().map(|name| name.to_string()).collect()
    }

    fn of(images: &[&str], engine: &[&str]) -> Vec<(usize, Option<(usize, usize)>)> {
        let images: Vec<Vec<String>> = images.iter().map(|names| layers(names)).collect();
        let images: Vec<&[String]> = images.iter().map(Vec::as_slice).collect();
        let engine: Vec<Vec<String>> = engine.iter().map(|names| layers(names)).collect();
        turns(&images, &engine).into_iter().map(|turn| (turn.there, turn.then)).collect()
    }

    #[test]
    fn what_images_share_goes_once_with_the_first() {
        assert_eq!(of(&["bx", "by", "bz", "q"], &[]), [(0, None), (0, Some((0, 1))), (0, Some((0, 1))), (0, None)]);
        // more of it comes with the second
        assert_eq!(of(&["bx", "byv", "byw"], &[]), [(0, None), (0, Some((0, 1))), (0, Some((1, 2)))]);
    }

    #[test]
    fn what_the_engine_has_is_waited_for_by_nobody() {
        assert_eq!(of(&["bx", "by"], &["b"]), [(1, None), (1, None)]);
        assert_eq!(of(&["bx", "byv"], &["b", "byq"]), [(1, None), (2, None)]);
        // a layer on top of others is another one
        assert_eq!(of(&["xb", "b"], &["cb"]), [(0, None), (0, None)]);
        assert_eq!(of(&["", "b"], &["", "b"]), [(0, None), (1, None)]);
    }
}
