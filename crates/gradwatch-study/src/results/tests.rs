use std::path::Path;

use proptest::prelude::*;

use super::*;

fn results(columns: &[(&str, ColumnKind)], rows: &[(&str, Vec<Cell>)]) -> Results {
    let column = |(name, kind): &(&str, ColumnKind)| Column { name: (*name).to_owned(), kind: *kind };
    let row = |(run, cells): &(&str, Vec<Cell>)| Row {
        run: (*run).to_owned(),
        folder: Path::new("logs/s").join(run),
        cells: cells.clone(),
    };
    Results { columns: columns.iter().map(column).collect(), rows: rows.iter().map(row).collect() }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

const COLUMNS: [(&str, ColumnKind); 4] = [
    ("init", ColumnKind::Axis),
    ("seed", ColumnKind::Seed),
    ("ending", ColumnKind::Measure),
    ("loss", ColumnKind::Measure),
];

fn some() -> Results {
    let cells = |init: &str, ending, loss| vec![text(init), Cell::Number(1.0), ending, loss];
    results(
        &COLUMNS,
        &[
            ("a", cells("x,\"y\"", text("two\nlines"), Cell::Number(0.1 + 0.2))),
            ("b", cells("4", Cell::Missing, Cell::Number(f64::NAN))),
            ("c", cells("z", text("done"), Cell::Number(f64::NEG_INFINITY))),
            ("d", cells("z", text("done"), Cell::Number(1e-7))),
            ("e", cells("z", text("done"), Cell::integer(u64::MAX))),
        ],
    )
}

#[test]
fn csv_has_a_header_and_every_number_in_full() {
    let want = "run,init,seed,ending,loss\n\
                a,\"x,\"\"y\"\"\",1,\"two\nlines\",0.30000000000000004\n\
                b,4,1,,NaN\n\
                c,z,1,done,-inf\n\
                d,z,1,done,1e-7\n\
                e,z,1,done,18446744073709551615\n";
    assert_eq!(some().to_csv(), want);
    assert_eq!(Results::default().to_csv(), "run\n");
}

#[test]
fn json_has_an_object_per_run_in_the_order_of_the_columns_and_null_for_what_it_cannot_express() {
    let want = "[\n\
                {\"run\":\"a\",\"init\":\"x,\\\"y\\\"\",\"seed\":1,\"ending\":\"two\\nlines\",\"loss\":0.30000000000000004},\n\
                {\"run\":\"b\",\"init\":\"4\",\"seed\":1,\"ending\":null,\"loss\":null},\n\
                {\"run\":\"c\",\"init\":\"z\",\"seed\":1,\"ending\":\"done\",\"loss\":null},\n\
                {\"run\":\"d\",\"init\":\"z\",\"seed\":1,\"ending\":\"done\",\"loss\":1e-7},\n\
                {\"run\":\"e\",\"init\":\"z\",\"seed\":1,\"ending\":\"done\",\"loss\":18446744073709551615}\n\
                ]\n";
    assert_eq!(some().to_json(), want);
    assert_eq!(serde_json::from_str::<Vec<()>>(&Results::default().to_json()).unwrap(), []);
}

#[test]
fn results_are_read_back_with_the_kinds_of_their_columns() {
    let read = Results::from_csv(&some().to_csv(), Path::new("logs/s")).unwrap();
    assert_eq!(read.columns, some().columns);
    assert_eq!((&read.rows[2], read.rows[1].cells[3].number().unwrap().is_nan()), (&some().rows[2], true));
    // CSV does not tell the text 4 from the number.
    assert!(read.rows[1].cells[0] == Cell::Number(4.0) && read.rows[1].cells[2] == Cell::Missing);
}

#[test]
fn a_file_that_has_no_results_is_refused() {
    let refuse = |text: &str| Results::from_csv(text, Path::new("")).unwrap_err().to_string();
    assert_eq!(
        refuse("a,b\n1,2\n"),
        "got the columns a, b, want the columns of results.csv: run first, and a column seed"
    );
    assert!(refuse("run,seed\na,1,2\n").starts_with("the results are not valid CSV: "));
}

#[test]
fn cells_are_the_same_if_their_texts_are_and_missing_ones_never() {
    assert!(Cell::Number(4.0).is_same(&text("4")) && Cell::Number(f64::NAN).is_same(&Cell::Number(f64::NAN)));
    assert!(!Cell::Number(4.5).is_same(&Cell::Number(4.0)) && !Cell::Missing.is_same(&Cell::Missing));
    assert!(!Cell::Missing.is_same(&text("")));
    // 2^53 and 2^53 + 1, which are the same floating-point number.
    let [one, two] = [9_007_199_254_740_992_i64, 9_007_199_254_740_993].map(Cell::integer);
    assert!(!one.is_same(&two) && two.is_same(&text("9007199254740993")));
    assert!(
        one.is_same(&Cell::Number(9_007_199_254_740_992.0)) && !two.is_same(&Cell::Number(9_007_199_254_740_992.0))
    );
    assert!(Cell::integer(1_000_000_000_000_000_i64).is_same(&Cell::Number(1e15)));
    assert_eq!((Cell::integer(-4), one.order(&two)), (Cell::Number(-4.0), Ordering::Less));
}

fn cells() -> impl Strategy<Value = Cell> {
    let special = [f64::NAN, f64::INFINITY, -0.0, 5e-324, f64::MAX].map(Cell::Number);
    prop_oneof![
        any::<String>().prop_map(Cell::Text),
        any::<f64>().prop_map(Cell::Number),
        any::<i32>().prop_map(|number| Cell::Number(number.into())),
        any::<i64>().prop_map(Cell::integer),
        prop::sample::select(special.to_vec()),
        Just(Cell::Missing),
    ]
}

proptest! {
    #[test]
    fn any_results_written_read_and_written_again_are_the_same(
        rows in prop::collection::vec((any::<String>(), prop::collection::vec(cells(), COLUMNS.len())), 0..5),
    ) {
        let rows: Vec<(&str, Vec<Cell>)> = rows.iter().map(|(run, cells)| (&**run, cells.clone())).collect();
        let written = results(&COLUMNS, &rows);
        let csv = written.to_csv();
        let read = Results::from_csv(&csv, Path::new("logs/s")).unwrap();
        prop_assert_eq!(read.to_csv(), csv);
        prop_assert_eq!(read.rows.len(), written.rows.len());
        for (cell, other) in written.rows.iter().flat_map(|row| &row.cells).zip(read.rows.iter().flat_map(|row| &row.cells)) {
            if let Cell::Number(number) = cell {
                let bits = other.number().map(f64::to_bits);
                prop_assert!(bits == Some(number.to_bits()) || number.is_nan() && bits.is_some());
            }
            if let Cell::Integer(_) = cell {
                prop_assert_eq!(cell, other);
            }
        }
    }
}
