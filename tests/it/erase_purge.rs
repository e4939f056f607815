//! Purging a drive: the right one, followed to the end, believed only as far as it was looked at.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use packmule::erase::{self, Error, Options, Outcome, PurgeError, check_certificate};
use packmule::sys;
use packmule::sys::device::DeviceFacts;
use packmule::sys::sanitize::{Drive, Method, Progress};

use crate::erase_volumes::{Staged, staged};

/// A drive that does what a test says.
#[derive(Debug)]
struct Scripted {
    serial: Option<String>,
    offers: Vec<Method>,
    pieces: HashMap<u64, Vec<u8>>,
    /// What it answers when it is asked, in turn; the last for ever.
    answers: Vec<Progress>,
    started: Vec<Method>,
    /// Whether it keeps what it should erase.
    lies: bool,
    /// Whether it refuses to read what it erased.
    refuses_to_read: bool,
}

impl Scripted {
    fn new(offers: &[Method]) -> Self {
        Self {
            serial: Some("S1".to_owned()),
            offers: offers.to_vec(),
            pieces: HashMap::new(),
            answers: vec![Progress::Running(9), Progress::Running(60_000), Progress::Done],
            started: Vec::new(),
            lies: false,
            refuses_to_read: false,
        }
    }
}

impl Drive for Scripted {
    fn facts(&self) -> DeviceFacts {
        DeviceFacts { serial: self.serial.clone(), ..DeviceFacts::default() }
    }

    fn methods(&mut self) -> io::Result<Vec<Method>> {
        Ok(self.offers.clone())
    }

    fn start(&mut self, method: Method) -> io::Result<()> {
        self.started.push(method);
        if !self.lies {
            self.pieces.clear();
        }
        Ok(())
    }

    fn progress(&mut self, _method: Method) -> io::Result<Progress> {
        let next = self.answers[0].clone();
        if self.answers.len() > 1 {
            self.answers.remove(0);
        }
        Ok(next)
    }

    fn size_bytes(&mut self) -> io::Result<u64> {
        Ok(64 << 30)
    }

    fn read(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        match self.pieces.get(&offset) {
            None if self.refuses_to_read => Err(io::ErrorKind::InvalidData.into()),
            found => Ok(found.cloned().unwrap_or_else(|| vec![0; 4096])),
        }
    }

    fn write(&mut self, offset: u64, piece: &[u8]) -> io::Result<()> {
        assert!(offset.is_multiple_of(4096) && piece.len() == 4096 && offset < 64 << 30);
        self.pieces.insert(offset, piece.to_vec());
        Ok(())
    }
}

/// Hears how far it is, and does not wait.
#[derive(Default)]
struct Heard(Vec<u16>);

impl erase::Wait for Heard {
    fn wait(&mut self, _time: Duration, of_65536: u16) {
        self.0.push(of_65536);
    }
}

fn cleared() -> Staged {
    let mut staged = staged();
    let options = Options { abandon: vec![1], ..Options::default() };
    let world = sys::World::real();
    let volume = staged.volume.clone();
    let erased = erase::erase(staged.world.job(), &world, &volume, None, &options, &mut ());
    assert!(matches!(erased, Ok(Outcome::Erased(..))), "{erased:?}");
    staged
}

fn purge(staged: &mut Staged, drive: &mut Scripted) -> Result<Vec<erase::Certificate>, Error> {
    erase::purge(staged.world.job(), &sys::World::real(), drive, &mut Heard::default())
}

#[test]
fn a_drive_is_followed_to_the_end_looked_at_and_certified() {
    let mut staged = cleared();
    let dir = staged.world.dir.path().join("job/report");
    let before = check_certificate(&std::fs::read(dir.join("erased-volume-1.json")).unwrap()).expect("signed");
    assert!(before.level.starts_with("Clear") && before.purge.is_none());
    let mut drive = Scripted::new(&[Method::Overwrite, Method::CryptoErase, Method::BlockErase]);
    let mut heard = Heard::default();
    let certificates = erase::purge(staged.world.job(), &sys::World::real(), &mut drive, &mut heard).expect("purges");
    assert_eq!(drive.started, [Method::CryptoErase], "the best it offers");
    assert_eq!(heard.0, [9, 60_000]);
    let on_file = check_certificate(&std::fs::read(dir.join("erased-volume-1.json")).unwrap()).expect("signed anew");
    assert_eq!(certificates, std::slice::from_ref(&on_file));
    let purge = on_file.purge.expect("says so");
    assert_eq!((purge.method.as_str(), purge.marks, purge.gone), ("sanitize, crypto erase", 256, 256));
    assert!(on_file.level.starts_with("Purge"));
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    for name in ["erased-volume-1.txt", "erased-volume-1.html", "erased-drives.html"] {
        assert!(read(name).contains("Purge"), "{name}");
    }
    let kinds: Vec<String> = staged.world.job().events().unwrap().into_iter().map(|event| event.kind).collect();
    assert!(kinds.ends_with(&["purge-begun".to_owned(), "purged".to_owned()]), "{kinds:?}");
    // Purged again another day: the certificate does not say that it was begun on the first.
    let mut drive = Scripted::new(&[Method::BlockErase]);
    let again = self::purge(&mut staged, &mut drive).expect("purges again");
    let purge_again = again[0].purge.clone().expect("says so");
    assert!(purge_again.begun > purge.begun && purge_again.method == "sanitize, block erase", "{purge_again:?}");
}

#[test]
fn a_drive_whose_word_is_not_true_is_found_out() {
    let mut staged = cleared();
    let mut drive = Scripted { lies: true, ..Scripted::new(&[Method::BlockErase]) };
    let refused = purge(&mut staged, &mut drive).unwrap_err();
    assert!(matches!(refused, Error::Purge(PurgeError::StillThere { offset: 0 })), "{refused}");
    let mut drive = Scripted { refuses_to_read: true, ..Scripted::new(&[Method::BlockErase]) };
    assert!(matches!(purge(&mut staged, &mut drive), Err(Error::Purge(PurgeError::Unreadable))));
    let failed = vec![Progress::Running(1), Progress::Failed("worn out".to_owned())];
    let mut drive = Scripted { answers: failed, ..Scripted::new(&[Method::BlockErase]) };
    assert!(purge(&mut staged, &mut drive).unwrap_err().to_string().contains("NOT PURGED: worn out"));
    let mut drive = Scripted { answers: vec![Progress::Never], ..Scripted::new(&[Method::BlockErase]) };
    assert!(matches!(purge(&mut staged, &mut drive), Err(Error::Purge(PurgeError::Failed { .. }))));
    let path = staged.world.dir.path().join("job/report/erased-volume-1.json");
    let certificate = check_certificate(&std::fs::read(path).unwrap()).expect("as it was");
    assert!(
        certificate.purge.is_none() && certificate.level.starts_with("Clear"),
        "nothing is certified that was not seen"
    );
}

#[test]
fn only_the_drive_of_erased_volumes_is_touched() {
    let mut untouched = staged();
    let mut drive = Scripted::new(&[Method::BlockErase]);
    assert!(matches!(purge(&mut untouched, &mut drive), Err(Error::Purge(PurgeError::NotErased { volume: 1 }))));
    let mut staged = cleared();
    let mut other = Scripted { serial: Some("S2".to_owned()), ..Scripted::new(&[Method::BlockErase]) };
    assert!(matches!(purge(&mut staged, &mut other), Err(Error::Purge(PurgeError::OtherDrive { .. }))));
    let mut silent = Scripted { serial: None, ..Scripted::new(&[Method::BlockErase]) };
    assert!(matches!(purge(&mut staged, &mut silent), Err(Error::Purge(PurgeError::NoSerial))));
    let mut poor = Scripted::new(&[]);
    let refused = purge(&mut staged, &mut poor).unwrap_err();
    assert!(matches!(refused, Error::Purge(PurgeError::NoMethod)));
    assert!(refused.to_string().contains("NOT PURGED") && refused.hint().is_some_and(|hint| hint.contains("Clear")));
    for drive in [drive, other, silent, poor] {
        assert!(drive.started.is_empty() && drive.pieces.is_empty());
    }
}

#[test]
fn an_interrupted_purge_goes_on_waiting_and_still_looks() {
    let mut staged = cleared();
    // The first run dies while the drive is at it: its answer cannot be had any more.
    #[derive(Debug)]
    struct Dies(Scripted);
    impl Drive for Dies {
        fn facts(&self) -> DeviceFacts {
            self.0.facts()
        }
        fn methods(&mut self) -> io::Result<Vec<Method>> {
            self.0.methods()
        }
        fn start(&mut self, method: Method) -> io::Result<()> {
            self.0.start(method)
        }
        fn progress(&mut self, _method: Method) -> io::Result<Progress> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn size_bytes(&mut self) -> io::Result<u64> {
            self.0.size_bytes()
        }
        fn read(&mut self, offset: u64) -> io::Result<Vec<u8>> {
            self.0.read(offset)
        }
        fn write(&mut self, offset: u64, piece: &[u8]) -> io::Result<()> {
            self.0.write(offset, piece)
        }
    }
    let mut dies = Dies(Scripted { lies: true, ..Scripted::new(&[Method::Overwrite]) });
    let ended = erase::purge(staged.world.job(), &sys::World::real(), &mut dies, &mut Heard::default());
    assert!(matches!(ended, Err(Error::Purge(PurgeError::Drive { .. }))));
    let Dies(mut drive) = dies;
    // The second does not start it again, and knows what to look for.
    let found = purge(&mut staged, &mut drive).unwrap_err();
    assert!(matches!(found, Error::Purge(PurgeError::StillThere { offset: 0 })), "{found}");
    assert_eq!(drive.started, [Method::Overwrite], "once");
    drive.answers = vec![Progress::Running(5), Progress::Done];
    drive.pieces.clear();
    assert!(purge(&mut staged, &mut drive).is_ok());
    assert_eq!(drive.started.len(), 1);
}

#[test]
fn the_command_refuses_what_is_no_whole_drive() {
    let mut staged = cleared();
    let job = staged.world.dir.path().join("job");
    staged.world.job = None;
    for device in ["/dev/null", "/nowhere", job.to_str().unwrap()] {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_packmule"));
        let arguments = ["erase", "--purge", device, "--yes", "--job", job.to_str().unwrap()];
        let out = command.args(arguments).assert().code(1).get_output().stderr.clone();
        assert!(String::from_utf8_lossy(&out).contains("is not purged"), "{device}");
    }
}
