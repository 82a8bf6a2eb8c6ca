//! Parquet files, as the Hugging Face hub has them.

use std::{fs::File, path::Path, sync::Arc};

use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

/// An encoded image and its label.
pub(crate) type Row = (Option<Vec<u8>>, Option<String>);

const SCHEMA: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (STRING); }
    optional binary label (STRING);
}";

/// Writes a file with these row groups, compressed with snappy.
pub(crate) fn write_rows(path: &Path, row_groups: &[&[Row]]) {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    for rows in row_groups {
        let mut group = file.next_row_group().unwrap();
        let mut write = |values: Vec<Option<ByteArray>>, whole: i16| {
            let mut column = group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = values.iter().map(|value| whole - i16::from(value.is_none())).collect();
            let values: Vec<ByteArray> = values.into_iter().flatten().collect();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        };
        write(rows.iter().map(|(image, _)| image.clone().map(ByteArray::from)).collect(), 2);
        write(rows.iter().map(|_| None).collect(), 2);
        write(rows.iter().map(|(_, label)| label.as_deref().map(ByteArray::from)).collect(), 1);
        group.close().unwrap();
    }
    file.close().unwrap();
}
