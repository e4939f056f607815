//! `packmule label VOLUME... -o FILE`: what is stuck on a drive.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::key::volume_failure;
use crate::cli::{Exit, Failure};
use crate::crypto::fingerprint;
use crate::format::hex;
use crate::job::{Job, replace_file};
use crate::label::{Error, Label, render_html, render_pdf, render_png, render_svg};
use crate::sys::{World, device};
use crate::units::Bytes;
use crate::volume::Volume;

/// Arguments of `packmule label`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  packmule label /mnt/a --job ~/jobs/lab -o a.pdf             (one label, 99.1 x 67.7 mm)
  packmule label /mnt/a /mnt/b --job ~/jobs/lab -o all.pdf    (sheets of A4 with eight labels)

The ending of FILE says what it becomes: .pdf, .html, .svg or .png; the last two hold one label.")]
pub struct Args {
    /// Volumes
    #[arg(required = true)]
    volume: Vec<PathBuf>,
    /// Job directory: how many volumes there are, the return address, the drive as it was
    #[arg(long, value_name = "DIR")]
    job: Option<PathBuf>,
    /// Return address, a line each [default: the contact given to stage]
    #[arg(long, value_name = "TEXT")]
    contact: Vec<String>,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON document about what was written
    #[arg(long)]
    json: bool,
}

/// Draws and writes.
///
/// # Errors
/// When a volume or the job cannot be read, or the file not written.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let job = args.job.as_deref().map(Job::open_read_only).transpose().map_err(super::status::failure)?;
    let labels =
        args.volume.iter().map(|path| label(args, &world, job.as_ref(), path)).collect::<Result<Vec<_>, _>>()?;
    let ending = args.output.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    let bytes = match (ending.as_deref(), labels.as_slice()) {
        (Some("pdf"), labels) => render_pdf(labels),
        (Some("html" | "htm"), labels) => render_html(labels).map(String::into_bytes),
        (Some("svg"), [label]) => render_svg(label).map(String::into_bytes),
        (Some("png"), [label]) => render_png(label),
        (Some("svg" | "png"), _) => {
            let hint = "one volume for one picture; .pdf and .html hold many";
            return Err(Failure::new(Exit::Usage, "a picture holds one label", hint).into());
        }
        _ => {
            let hint = "let FILE end in .pdf, .html, .svg or .png";
            return Err(
                Failure::new(Exit::Usage, format!("{} is of no known kind", args.output.display()), hint).into()
            );
        }
    };
    let bytes = bytes.map_err(|error: Error| Failure::of(Exit::Failed, "the label cannot be drawn", None, error))?;
    replace_file(&*world.fs, &args.output, |out| {
        let failed = |source| crate::job::Error::File { path: args.output.clone(), doing: "write", source };
        out.write_all(&bytes).map_err(failed)
    })?;
    let numbers: Vec<u32> = labels.iter().map(|label| label.number).collect();
    let text = if args.json {
        serde_json::json!({ "file": args.output, "volumes": numbers, "bytes": bytes.len() }).to_string()
    } else {
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        format!("{}: label of volume {}", args.output.display(), numbers.join(", "))
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(Exit::Done)
}

fn label(args: &Args, world: &World, job: Option<&Job>, path: &std::path::Path) -> anyhow::Result<Label> {
    let volume = Volume::open(Arc::clone(&world.fs), path).map_err(|error| volume_failure(path, error))?;
    let header = volume.header();
    let sealed = volume.sealed().map_err(|error| volume_failure(path, error))?;
    let facts = device::facts(path);
    let mut label = Label {
        job: header.job.to_string(),
        volume: header.volume.to_string(),
        number: header.number,
        size: facts.size_bytes.map(|bytes| Bytes::new(bytes).decimal()),
        model: facts.model,
        serial: facts.serial,
        sealed: sealed.map(|sealed| sealed.sealed_at.chars().take(10).collect()),
        contact: args.contact.clone(),
        ..Label::default()
    };
    if header.job_public_key != [0; 32] {
        label.key = Some((hex(&header.job_public_key), fingerprint(&header.job_public_key)));
    }
    if let Some(job) = job {
        if job.id() != header.job {
            let error = crate::volume::Error::OtherJob { path: path.to_owned(), expected: job.id(), found: header.job };
            return Err(volume_failure(path, error).into());
        }
        let rows = job.volumes()?;
        label.total = Some(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        if let Some(row) = rows.into_iter().find(|row| row.volume.id == header.volume) {
            label.model = label.model.or(row.volume.model);
            label.serial = label.serial.or(row.volume.serial);
            label.size = label.size.or(Some(Bytes::new(row.volume.capacity_bytes).decimal()));
        }
        if label.contact.is_empty() {
            let contact = job.setting("contact")?.unwrap_or_default();
            label.contact = contact.lines().map(str::to_owned).collect();
        }
    }
    Ok(label)
}
