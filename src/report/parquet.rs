//! The list of all entries as a Parquet file: one row per entry, the columns of the CSV lists, typed.
//!
//! Rows are gathered into row groups of bounded size; a group is compressed (Snappy, which every reader knows), handed
//! on, and forgotten, so that memory does not grow with the job.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::report::Error;
use crate::report::lines::{Line, render};
use crate::sys::lock::lock;

/// Rows in a row group: some ten megabytes.
const ROWS: usize = 65_536;

/// Names, order and types of the columns; `docs/reports.md` explains them.
const SCHEMA: &str = "message entries {
    required binary path (UTF8);
    required binary type (UTF8);
    required int64 bytes;
    required binary modified (UTF8);
    optional binary sha256 (UTF8);
    optional binary crc64nvme (UTF8);
    optional binary volumes (UTF8);
    optional binary key (UTF8);
    optional binary etag (UTF8);
    required binary evidence (UTF8);
    optional binary failure (UTF8);
    optional binary reason (UTF8);
}";

/// What the writer has written and nobody has taken yet. The writer must be `Send`; the place it goes to need not be.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<u8>>>);

impl Write for Shelf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shelf {
    fn hand_on(&self, out: &mut dyn Write) -> Result<(), Error> {
        let bytes = std::mem::take(&mut *lock(&self.0));
        out.write_all(&bytes).map_err(Error::Output)
    }
}

/// A Parquet file that is being written.
pub(super) struct Table<'a> {
    out: &'a mut dyn Write,
    shelf: Shelf,
    writer: SerializedFileWriter<Shelf>,
    /// One column of texts each, in the order of the schema without `bytes`; `None` is null.
    texts: [Vec<Option<ByteArray>>; 11],
    sizes: Vec<i64>,
}

impl<'a> Table<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Result<Self, Error> {
        let schema = Arc::new(parse_message_type(SCHEMA).map_err(render)?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("packmule ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let shelf = Shelf::default();
        let writer = SerializedFileWriter::new(shelf.clone(), schema, Arc::new(properties)).map_err(render)?;
        Ok(Self { out, shelf, writer, texts: Default::default(), sizes: Vec::new() })
    }

    pub(super) fn add(&mut self, line: &Line) -> Result<(), Error> {
        let some = |text: &str| Some(ByteArray::from(text.as_bytes().to_vec()));
        let full = |text: &str| if text.is_empty() { None } else { some(text) };
        let row = [
            some(&line.path),
            some(line.entry_type),
            some(&line.modified),
            full(&line.sha256),
            full(&line.crc64nvme),
            full(&line.volumes),
            full(&line.key),
            full(&line.etag),
            some(line.evidence),
            line.failure.and_then(some),
            line.reason.as_deref().and_then(some),
        ];
        for (column, value) in self.texts.iter_mut().zip(row) {
            column.push(value);
        }
        self.sizes.push(i64::try_from(line.bytes).unwrap_or(i64::MAX));
        if self.sizes.len() < ROWS { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.sizes.is_empty() {
            return Ok(());
        }
        let sizes = std::mem::take(&mut self.sizes);
        let texts = std::mem::take(&mut self.texts);
        let mut group = self.writer.next_row_group().map_err(render)?;
        for (at, column) in texts.into_iter().enumerate() {
            if at == 2 {
                write_sizes(&mut group, &sizes)?;
            }
            write_texts(&mut group, column)?;
        }
        group.close().map_err(render)?;
        self.shelf.hand_on(self.out)
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        self.writer.close().map_err(render)?;
        self.shelf.hand_on(self.out)
    }
}

fn write_sizes(group: &mut SerializedRowGroupWriter<'_, Shelf>, sizes: &[i64]) -> Result<(), Error> {
    if let Some(mut column) = group.next_column().map_err(render)? {
        column.typed::<Int64Type>().write_batch(sizes, None, None).map_err(render)?;
        column.close().map_err(render)?;
    }
    Ok(())
}

fn write_texts(group: &mut SerializedRowGroupWriter<'_, Shelf>, values: Vec<Option<ByteArray>>) -> Result<(), Error> {
    if let Some(mut column) = group.next_column().map_err(render)? {
        let present: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
        let values: Vec<ByteArray> = values.into_iter().flatten().collect();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&present), None).map_err(render)?;
        column.close().map_err(render)?;
    }
    Ok(())
}
