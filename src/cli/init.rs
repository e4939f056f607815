//! `packmule init --job DIR`: the questions of a job, asked once, and the answers kept in `DIR/job.toml`.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use crate::cli::s3::destination;
use crate::cli::settings::JOB_FILE;
use crate::cli::{Exit, Failure};
use crate::crypto::{Recipients, SlotRecipient};
use crate::job::{self, ensure_dir, replace_file};
use crate::sys::World;
use crate::sys::source::identity_followed;

/// Arguments of `packmule init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job directory, made if it is missing
    #[arg(long, value_name = "DIR")]
    job: PathBuf,
    /// What is to be moved; may be repeated
    #[arg(long, value_name = "PATH")]
    source: Vec<PathBuf>,
    /// Where a drive is mounted; may be repeated. DIR,size=400GB uses at most so much of it
    #[arg(long, value_name = "DIR[,size=SIZE]")]
    volume: Vec<String>,
    /// Who can open the volumes: an age, SSH or plugin recipient; may be repeated
    #[arg(long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// File for an unlock code, written by the first stage
    #[arg(long, value_name = "FILE")]
    unlock_code_file: Option<PathBuf>,
    /// Where it goes in the end, as s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Endpoint of an S3-compatible server
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Leave out what matches, in the style of gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Command to run when a volume is sealed or needed, on trouble, and at the end
    #[arg(long, value_name = "CMD")]
    on_event: Option<String>,
    /// Print the file instead of writing it
    #[arg(long)]
    dry_run: bool,
}

/// What is known of the job.
#[derive(Debug, Default)]
struct Answers {
    source: Vec<String>,
    volume: Vec<String>,
    recipient: Vec<String>,
    unlock_code_file: Option<String>,
    to: Option<String>,
    endpoint_url: Option<String>,
    exclude: Vec<String>,
    on_event: Option<String>,
}

/// Asks what was not given, if there is a terminal, and writes the file.
///
/// # Errors
/// When something is missing and nobody can be asked, when there is a job file already, or it cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let path = args.job.join(JOB_FILE);
    if world.fs.stat(&path).is_ok() {
        let hint = "edit it, it is a few lines of text; packmule config --job DIR shows what it sets";
        return Err(Failure::new(Exit::Usage, format!("there is a {} already", path.display()), hint).into());
    }
    let mut answers = given(args)?;
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        ask(&mut answers, &args.job)?;
    }
    complete(&answers)?;
    let text = answers.text();
    if args.dry_run {
        std::io::stdout().write_all(text.as_bytes())?;
        return Ok(Exit::Done);
    }
    ensure_dir(&*world.fs, &args.job)?;
    replace_file(&*world.fs, &path, |out| {
        out.write_all(text.as_bytes()).map_err(|source| job::Error::File { path: path.clone(), doing: "write", source })
    })?;
    let job = args.job.display();
    writeln!(std::io::stdout(), "{} is written. From now on:\n", path.display())?;
    writeln!(std::io::stdout(), "  packmule stage --job {job}      onto the drives; the same again resumes")?;
    writeln!(std::io::stdout(), "  packmule status --job {job}     where it stands, and what is next")?;
    if answers.to.is_some() {
        writeln!(std::io::stdout(), "  packmule ingest --job {job}     from the drives into S3")?;
    }
    Ok(Exit::Done)
}

fn given(args: &Args) -> Result<Answers, Failure> {
    let source = args.source.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?;
    let place = |text: &String| match text.rsplit_once(",size=") {
        Some((path, size)) => Ok(format!("{},size={size}", absolute(Path::new(path))?)),
        None => absolute(Path::new(text)),
    };
    Ok(Answers {
        source,
        volume: args.volume.iter().map(place).collect::<Result<_, Failure>>()?,
        recipient: args.recipient.clone(),
        unlock_code_file: args.unlock_code_file.as_deref().map(absolute).transpose()?,
        to: args.to.clone(),
        endpoint_url: args.endpoint_url.clone(),
        exclude: args.exclude.clone(),
        on_event: args.on_event.clone(),
    })
}

/// A job file is used from anywhere, so its paths are from the root; and it is text.
fn absolute(path: &Path) -> Result<String, Failure> {
    let full = std::path::absolute(path)
        .map_err(|error| Failure::of(Exit::Usage, format!("{} is no path", path.display()), None, error))?;
    let text = full.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        let hint = "name it on the command line of stage instead";
        Failure::new(Exit::Usage, format!("{} is not text, which a job file is", path.display()), hint)
    })
}

fn complete(answers: &Answers) -> Result<(), Failure> {
    let missing = match answers {
        answers if answers.source.is_empty() => "--source PATH (what is to be moved)",
        answers if answers.volume.is_empty() => "--volume DIR (where a drive is mounted)",
        answers if answers.recipient.is_empty() && answers.unlock_code_file.is_none() => {
            "--unlock-code-file FILE or --recipient (who can open the drives)"
        }
        _ => return Ok(()),
    };
    let hint = "on a terminal packmule init asks for it";
    Err(Failure::new(Exit::Usage, format!("the job needs {missing}"), hint))
}

fn ask(answers: &mut Answers, job: &Path) -> anyhow::Result<()> {
    if answers.source.is_empty() {
        answers.source = lines("What is to be moved? (a directory a line, an empty line ends)")?;
    }
    if answers.volume.is_empty() {
        answers.volume = lines("Where are the drives mounted? (a directory a line, an empty line ends)")?;
    }
    if answers.recipient.is_empty() && answers.unlock_code_file.is_none() {
        let code = absolute(&job.join("unlock-code.txt"))?;
        let question = format!("Who can open them? (an age or SSH recipient; nothing: an unlock code in {code})");
        let said = checked(&question, |said| {
            Recipients::of(&[SlotRecipient::of(said)]).map(drop).map_err(|error| super::exit::chain(&error))
        })?;
        if said.is_empty() { answers.unlock_code_file = Some(code) } else { answers.recipient = vec![said] }
    }
    if answers.to.is_none() {
        let question = "Where does it go in the end? (s3://BUCKET/PREFIX; nothing: decide later)";
        let said = checked(question, |said| destination(said).map(drop).map_err(|failure| failure.to_string()))?;
        answers.to = Some(said).filter(|said| !said.is_empty());
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a question to the user")]
fn line(question: &str) -> anyhow::Result<String> {
    eprint!("{question}\n> ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Asks until the answer is empty or passes.
#[expect(clippy::print_stderr, reason = "a question to the user")]
fn checked(question: &str, check: impl Fn(&str) -> Result<(), String>) -> anyhow::Result<String> {
    loop {
        let said = line(question)?;
        match if said.is_empty() { Ok(()) } else { check(&said) } {
            Ok(()) => return Ok(said),
            Err(why) => eprintln!("  {why}"),
        }
    }
}

/// Asks for directories. One that is not there is taken when it is given twice: a drive may come later.
#[expect(clippy::print_stderr, reason = "a question to the user")]
fn lines(question: &str) -> anyhow::Result<Vec<String>> {
    eprintln!("{question}");
    let (mut answers, mut doubted) = (Vec::new(), None);
    loop {
        eprint!("> ");
        let mut answer = String::new();
        if std::io::stdin().read_line(&mut answer)? == 0 || answer.trim().is_empty() {
            return Ok(answers);
        }
        let text = absolute(Path::new(answer.trim()))?;
        let path = text.rsplit_once(",size=").map_or(text.as_str(), |(path, _)| path);
        if identity_followed(Path::new(path)).is_err() && doubted.as_ref() != Some(&text) {
            eprintln!("  {path} is not there; the same again keeps it all the same");
            doubted = Some(text);
            continue;
        }
        answers.push(text);
    }
}

impl Answers {
    /// The file, with a word on every line.
    fn text(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let list = |texts: &[String]| {
            let items: Vec<String> = texts.iter().map(|text| format!("    {},\n", quoted(text))).collect();
            format!("[\n{}]", items.concat())
        };
        let mut out = "# The settings of this job: options of packmule by their long names, without the dashes.\n\
                       # Options that are typed are stronger. Everything that can stand here: packmule config --all\n"
            .to_owned();
        let mut put = |why: &str, key: &str, value: String| {
            out.push_str(&format!("\n# {why}\n{key} = {value}\n"));
        };
        put("What is moved.", "source", list(&self.source));
        put(
            "Where drives are mounted. They are recognised by what is on them; a new one is simply added.",
            "volume",
            list(&self.volume),
        );
        if !self.recipient.is_empty() {
            put("Who can open them. Only public keys belong here.", "recipient", list(&self.recipient));
        }
        if let Some(path) = &self.unlock_code_file {
            put("File with the unlock code. Send it by another way than the drives.", "unlock-code-file", quoted(path));
        }
        if let Some(to) = &self.to {
            put("Where it goes in the end.", "to", quoted(to));
        }
        if let Some(url) = &self.endpoint_url {
            put("The S3 server, where it is not AWS.", "endpoint-url", quoted(url));
        }
        if !self.exclude.is_empty() {
            put("What is left out.", "exclude", list(&self.exclude));
        }
        if let Some(command) = &self.on_event {
            put("Run when a volume is sealed or needed, on trouble, and at the end.", "on-event", quoted(command));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_what_was_answered_and_is_toml() {
        let answers = Answers {
            source: vec!["/data \"raw\"".into(), "/more".into()],
            volume: vec!["/mnt/a,size=400GB".into()],
            unlock_code_file: Some("/jobs/lab/code.txt".into()),
            to: Some("s3://lab/run".into()),
            ..Answers::default()
        };
        let table: toml::Table = answers.text().parse().expect("TOML");
        assert_eq!(table["source"].as_array().map(Vec::len), Some(2));
        assert_eq!(table["source"][0].as_str(), Some("/data \"raw\""));
        assert_eq!(table["to"].as_str(), Some("s3://lab/run"));
        assert!(complete(&answers).is_ok());
        assert!(complete(&Answers { volume: Vec::new(), ..answers }).is_err());
    }
}
