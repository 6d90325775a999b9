use std::path::PathBuf;
use std::time::Instant;

use clap::Subcommand;

use crate::app::{
    self, ImageRow, LockChange, image_rows, load_bundle, lock_images, obtain_images, prune_images, save_images,
};
use crate::model::{ImagePolicy, macula};
use crate::plan::{ImageSource, Reason};

use super::context::{Context, ImageOptions, LoadOptions, LookAhead, StackOptions};
use super::error::CliError;
use super::excerpt::located;
use super::interrupt;
use super::ui::table::{Cell, Fit, Table};
use super::ui::{Tone, left_out, text};

/// List, pull, build, lock, save, load or prune the images of the platform
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show each image: whether it is available, its size, age and digest, and where it comes from
    List {
        #[command(flatten)]
        stacks: ImageOptions,
    },
    Pull(PullArgs),
    Build(BuildArgs),
    /// Pin every image to its current digest in macula.lock
    ///
    /// Asks the registries for the digest of every image and writes macula.lock next to macula.yaml;
    /// `up` then uses exactly these images. Run it again to move to newer ones.
    Lock {
        #[command(flatten)]
        stacks: StackOptions,
    },
    /// Save all images to one file, for a machine without a network
    ///
    /// Missing images are pulled or built first. The file is compressed, has a checksum for everything
    /// in it, and stores shared layers only once. An interrupted run resumes.
    Save {
        // the name `file` belongs to the global option
        #[arg(value_name = "FILE")]
        bundle: PathBuf,
        #[command(flatten)]
        stacks: ImageOptions,
    },
    /// Remove images that were built on this machine and are no longer used
    ///
    /// An image is unused if no container was created from it and no service of any profile would run
    /// it. Pulled images are left alone.
    Prune {
        /// Only show what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Add a Compose file, or the folder of one, as a stack (repeatable)
        #[arg(long = "stack", value_name = "PATH")]
        files: Vec<PathBuf>,
        /// Do not use the Compose file in this folder or above it as a stack
        #[arg(long)]
        no_discover: bool,
    },
    /// Load the images of a file written by `images save`
    ///
    /// Each file is checked while it is sent, and an image with a damaged one is not loaded. Images and layers that
    /// the engine already has are left alone. Afterwards `macula up --images local` needs no network;
    /// `macula up --bundle FILE` does both at once.
    Load {
        // the name `file` belongs to the global option
        #[arg(value_name = "FILE")]
        bundle: PathBuf,
    },
}

/// Pull the images of these services, or of all
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// Services, or host names they answer to (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    stacks: StackOptions,
}

/// Build the images of these services, or all that can be built
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Services, or host names they answer to (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Build images that are there already, too
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn pull(context: &Context, args: PullArgs) -> Result<(), CliError> {
    get(context, ImagePolicy::Pull, args.services, false, &args.stacks).await
}

pub async fn build(context: &Context, args: BuildArgs) -> Result<(), CliError> {
    get(context, ImagePolicy::Build, args.services, args.force, &args.stacks).await
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.action {
        Action::List { stacks } => list(context, &stacks).await,
        Action::Pull(args) => pull(context, args).await,
        Action::Build(args) => build(context, args).await,
        Action::Lock { stacks } => lock(context, stacks).await,
        Action::Save { bundle, stacks } => save(context, &bundle, &stacks).await,
        Action::Prune { dry_run, files, no_discover } => {
            // services too that a later run may ask for
            let stacks = StackOptions { stacks: files, profiles: vec!["*".to_owned()], no_discover };
            prune(context, dry_run, &stacks).await
        }
        Action::Load { bundle } => load(context, &bundle).await,
    }
}

async fn list(context: &Context, stacks: &ImageOptions) -> Result<(), CliError> {
    let session = context.session_ahead("images list", LookAhead::Lists);
    let loaded = context.load_with_builds(stacks).await?;
    let session = session.await;
    let rows = image_rows(&session, &loaded).await?;
    if context.json() {
        return context.print_json(&rows);
    }
    let verbose = context.global.verbose > 0;
    let mut columns =
        vec![("SERVICE", Fit::Shrink), ("STATE", Fit::Whole), ("SIZE", Fit::Number), ("IMAGE", Fit::Shrink)];
    if verbose {
        columns.extend([("DIGEST", Fit::Whole), ("WHY", Fit::Shrink)]);
    }
    let mut table = Table::new(columns);
    let dash = || "-".to_owned();
    for row in &rows {
        let age = age(row, context.host.now());
        let state = match (row.source, row.can_build) {
            _ if row.left_out.is_some() => "left out".to_owned(),
            (Some(ImageSource::Build), _) => age.map_or("built".to_owned(), |age| format!("built {age} ago")),
            (Some(ImageSource::Image), _) => "present".to_owned(),
            (None, true) => "missing, can be built".to_owned(),
            (None, false) => "missing".to_owned(),
        };
        let tone = if row.present { Tone::Good } else { Tone::Warn };
        let size = row.size.and_then(|size| u64::try_from(size).ok()).map(text::bytes);
        let image = match (&row.name, row.source) {
            // what the stack names is not what runs
            (Some(name), Some(ImageSource::Build)) if *name != row.reference && !verbose => {
                format!("stands for {}", row.reference)
            }
            (Some(name), _) if *name != row.reference => format!("{name} (for {})", row.reference),
            _ => row.reference.clone(),
        };
        let mut cells = vec![
            Cell::from(&row.services.join(", ")),
            Cell::toned(state, tone),
            Cell::from(&size.unwrap_or_else(dash)),
            Cell::from(&image),
        ];
        if verbose {
            cells.extend([Cell::from(row.digest.as_deref().map_or("-", short)), Cell::from(&row.why)]);
        }
        table.row(cells);
    }
    let mut out = table.render(context.out_style(), context.terminal.table_width());
    for line in sums(&rows, |name| loaded.platform.is_helper(name)) {
        let lines = text::wrap(&line, context.terminal.table_width().unwrap_or(usize::MAX));
        out.push_str(&format!("{}\n", lines.join("\n")));
    }
    context.print(&out)
}

/// How many are here and which are not; then what is left out, with the reason.
fn sums(rows: &[ImageRow], helper: impl Fn(&str) -> bool) -> Vec<String> {
    let missing: Vec<&ImageRow> = rows.iter().filter(|row| !row.present && row.left_out.is_none()).collect();
    let total: i64 = rows.iter().filter_map(|row| row.size).sum();
    let here = rows.iter().filter(|row| row.present).count();
    let mut sum = format!("{} here ({})", text::count(here, "image"), text::bytes(total.unsigned_abs()));
    if !missing.is_empty() {
        let services: Vec<String> = missing.iter().flat_map(|row| row.services.iter().cloned()).collect();
        sum.push_str(&format!(", {} missing: {}", missing.len(), text::some(&services, 4)));
    }
    let left = rows.iter().flat_map(|row| &row.without).map(|left| (left.service.as_str(), &left.reason));
    std::iter::once(sum).chain(causes(left, helper)).collect()
}

/// A line for each cause.
fn causes<'a>(left: impl Iterator<Item = (&'a str, &'a Reason)>, helper: impl Fn(&str) -> bool) -> Vec<String> {
    let causes = left_out::known(left_out::causes(left), helper).into_iter();
    causes.map(|cause| format!("{} left out, since {}: {}", cause.services.len(), cause.why, cause.names(4))).collect()
}

/// None for what is not here, and for images whose makers set the time to nothing, so that a build
/// gives the same bytes again.
fn age(row: &ImageRow, now: i64) -> Option<String> {
    const YEAR_2000: i64 = 946_684_800;
    let created = row.created.as_deref()?.parse::<jiff::Timestamp>().ok()?.as_second();
    let seconds = u64::try_from(now.saturating_sub(created)).unwrap_or_default();
    (created > YEAR_2000).then(|| text::age(seconds))
}

/// As much of a digest as tells it from others.
fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

async fn lock(context: &Context, mut stacks: StackOptions) -> Result<(), CliError> {
    let begun = Instant::now();
    let partly = !stacks.profiles.is_empty();
    if !partly {
        // those too that a later run may ask for
        stacks.profiles = vec!["*".to_owned()];
    }
    let loaded = context.load(&stacks)?;
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session("images lock").await;
    let locked = lock_images(&session, &loaded, partly).await?;
    let unknown = locked.images.iter().filter(|row| row.change == LockChange::Unknown).count();
    if unknown > 0 {
        let what = format!("{} not locked: `up` takes whatever the name means then", text::count(unknown, "image"));
        context.events().warn(what);
    }
    context.finished(begun, true, false, format!("wrote {}", locked.path.display()));
    if context.json() {
        return context.print_json(&locked);
    }
    let mut table =
        Table::new([("IMAGE", Fit::Whole), ("STATE", Fit::Whole), ("DIGEST", Fit::Whole), ("FROM", Fit::Shrink)]);
    for row in &locked.images {
        let (state, digest) = match row.change {
            LockChange::New => ("new", row.digest.as_deref()),
            LockChange::Moved => ("changed", row.digest.as_deref()),
            LockChange::Same => ("same", row.digest.as_deref()),
            LockChange::Kept => ("kept", row.digest.as_deref()),
            LockChange::Unknown => ("not locked", None),
            LockChange::Removed => ("removed", row.before.as_deref()),
        };
        table.row([
            Cell::from(&row.reference),
            Cell::state(state),
            Cell::from(digest.map_or("-", short)),
            Cell::from(&row.note),
        ]);
    }
    context.print(&table.render(context.out_style(), context.terminal.table_width()))
}

async fn save(context: &Context, file: &std::path::Path, stacks: &impl LoadOptions) -> Result<(), CliError> {
    let begun = Instant::now();
    if (context.host.exists(file).await && context.host.list(file).await.is_ok())
        || file.as_os_str().as_encoded_bytes().ends_with(b"/")
    {
        let error = CliError::usage(format!("{} is a folder, and a bundle is one file", file.display()));
        return Err(error.hint(format!("name the file: {}", file.join("platform.bundle").display())));
    }
    // a slip of the finger would make a folder somewhere
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder
        && !context.host.exists(folder).await
    {
        return Err(CliError::usage(format!("the folder {} does not exist", folder.display())));
    }
    let loaded = context.load_with_builds(stacks).await?;
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session("images save").await;
    let saved = match save_images(&session, &loaded, file).await {
        Ok(saved) => saved,
        Err(error) => return Err(broken_off(context, begun, error)),
    };
    let summary =
        format!("{} ({}) in {}", text::count(saved.images, "image"), text::bytes(saved.size), saved.path.display());
    context.finished(begun, true, !saved.left_out.is_empty(), summary);
    if context.json() {
        return context.print_json(&saved);
    }
    if saved.left_out.is_empty() {
        return Ok(());
    }
    let left = saved.left_out.iter().map(|left| format!("not in it: {} ({})\n", left.service, left.reason));
    context.print(&left.collect::<String>())
}

async fn prune(context: &Context, dry_run: bool, stacks: &StackOptions) -> Result<(), CliError> {
    let loaded = context.load(stacks)?;
    let session = context.session("images prune").await;
    let pruned = prune_images(&session, &loaded, dry_run).await?;
    if context.json() {
        return context.print_json(&pruned);
    }
    let mut table = Table::new([("IMAGE", Fit::Whole), ("SERVICE", Fit::Whole), ("SIZE", Fit::Number)]);
    for image in &pruned.removed {
        let name = image.names.first().cloned().unwrap_or_else(|| short(&image.id).to_owned());
        table.row([Cell::from(&name), Cell::from(&image.service), Cell::from(&text::bytes(image.size))]);
    }
    let count = text::count(pruned.removed.len(), "image");
    let freed = text::bytes(pruned.size);
    let summary = match (pruned.removed.is_empty(), dry_run) {
        (true, _) => "nothing to remove: every image that was built here is used\n".to_owned(),
        (false, true) => format!("{count} would go, up to {freed}; what others share stays\n"),
        (false, false) => format!("{count} removed, up to {freed} freed; what others share stays\n"),
    };
    let table = if pruned.removed.is_empty() {
        String::new()
    } else {
        table.render(context.out_style(), context.terminal.table_width())
    };
    context.print(&format!("{table}{summary}"))
}

async fn load(context: &Context, file: &std::path::Path) -> Result<(), CliError> {
    let begun = Instant::now();
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session("images load").await;
    let loaded = match load_bundle(&session, file).await {
        Ok(loaded) => loaded,
        Err(error) => return Err(broken_off(context, begun, error)),
    };
    let present = match loaded.present.len() {
        0 => String::new(),
        count => format!(", {count} here already"),
    };
    let sent = if loaded.sent > 0 { format!(" ({} sent)", text::bytes(loaded.sent)) } else { String::new() };
    let summary = format!("{} loaded{sent}{present}", text::count(loaded.loaded.len(), "name"));
    context.finished(begun, true, false, summary);
    if context.json() { context.print_json(&loaded) } else { Ok(()) }
}

fn broken_off(context: &Context, begun: Instant, error: app::Error) -> CliError {
    context.finished(begun, false, false, "");
    error.into()
}

async fn get(
    context: &Context,
    policy: ImagePolicy,
    mut services: Vec<String>,
    force: bool,
    stacks: &StackOptions,
) -> Result<(), CliError> {
    let begun = Instant::now();
    let verb = if policy == ImagePolicy::Build { "build" } else { "pull" };
    let loaded = context.load_with_builds(stacks).await?;
    context.services_meant(&loaded.platform, &mut services);
    let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
    let session = context.session(&format!("images {verb}")).await;
    match obtain_images(&session, &loaded, policy, &services, force).await {
        Ok((count, unavailable)) => {
            let left = unavailable.iter().map(|left| (left.service.as_str(), &left.reason));
            for cause in causes(left, |name| loaded.platform.is_helper(name)) {
                context.events().warn(cause);
            }
            let again = context.line(services.iter().fold(macula("images build --force"), |line, name| line.arg(name)));
            let summary = match (count, policy) {
                (0, ImagePolicy::Build) if force => "nothing to do: none of these images is built here".to_owned(),
                (0, ImagePolicy::Build) => {
                    format!("nothing to do: what can be built is built already (again: {again})")
                }
                (0, _) if !unavailable.is_empty() => {
                    "nothing to do: the engine has every image that is available".to_owned()
                }
                (0, _) => "nothing to do: there is nothing to pull".to_owned(),
                (count, _) => text::count(count, "image"),
            };
            context.finished(begun, true, false, summary);
            if context.json() { context.print_json(&serde_json::json!({"images": count})) } else { Ok(()) }
        }
        Err(error) => {
            context.broke_off(begun);
            Err(located(error, &loaded, context.excerpt_room()))
        }
    }
}
