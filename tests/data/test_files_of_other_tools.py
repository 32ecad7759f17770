"""Files as Excel, pandas, the hub and interrupted copies leave them: read as meant, or refused by cause."""

from __future__ import annotations

import json

import pytest

from boresight.core.errors import UserError
from boresight.data.check_file import check_file

PAIR = {"prompt": "Hi", "chosen": "Yo", "rejected": "Na"}
LINE = json.dumps(PAIR)


@pytest.fixture
def read(tmp_path):
    """`read("name", bytes)` is the report on a file of these bytes."""

    def of(name, content):
        (tmp_path / name).write_bytes(content)
        return check_file(tmp_path / name)

    return of


TABLES = {
    "Excel names the separator": b"sep=;\r\nprompt;chosen;rejected\r\nHi;Yo;Na\r\n",
    "after a byte order mark": b"\xef\xbb\xbfsep=,\r\nprompt,chosen,rejected\r\nHi,Yo,Na\r\n",
    "blank lines first": b"\r\n\r\nprompt;chosen;rejected\r\n\r\nHi;Yo;Na\r\n",
    "a comma in a quoted name": b'prompt;chosen;rejected;"note, long"\r\nHi;Yo;Na;x\r\n',
    "more semicolons than commas": b"prompt;chosen;rejected;a,b\r\nHi;Yo;Na;x\r\n",
    "pipes": b"prompt|chosen|rejected\r\nHi|Yo|Na\r\n",
    "spaces after commas": b'prompt, chosen, rejected\r\nHi, Yo, "Na"\r\n',
    "spaces before commas": b"prompt ,chosen ,rejected\r\nHi,Yo,Na\r\n",
    "empty columns and rows": b"prompt,chosen,rejected,,\r\nHi,Yo,Na,,\r\n,,,,\r\n",
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_is_read_as_it_was_saved(read, case):
    report = read("table.csv", TABLES[case])
    (example,) = report.loaded.examples
    assert (report.loaded.layout, report.bad) == ("plain_pairs", [])
    found = (example.prompt[0], example.chosen[0], example.rejected[0])
    assert [message["content"] for message in found] == ["Hi", "Yo", "Na"]


def test_spaces_in_cells_stay_where_the_header_has_none(read):
    (example,) = read("table.csv", b"prompt,chosen,rejected\nHi, Yo,Na\n").loaded.examples
    assert example.chosen[0]["content"] == " Yo"


def test_the_number_of_a_row_counts_from_the_header(read):
    report = read("table.csv", b"sep=,\nprompt,chosen,rejected\nHi,Yo,Na\n,,\nHi,,Na\n")
    assert [str(bad) for bad in report.bad] == ["row 3: `chosen` is missing"]


@pytest.mark.parametrize(("good", "bad"), [("TRUE", "FALSE"), ("WAHR", "FALSCH"), ("VRAI", "FAUX")])
def test_labels_of_spreadsheets_in_other_languages(read, good, bad):
    report = read("table.csv", f"prompt,completion,label\nq,x,{good}\nq,y,{bad}\n".encode())
    assert [example.label for example in report.loaded.examples] == [True, False]


def test_a_list_on_the_first_line_of_json_lines(read):
    assert len(read("rows.jsonl", json.dumps([PAIR, PAIR]).encode()).loaded.examples) == 2
    conversation = json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}])
    report = read("turns.jsonl", f"{conversation}\n{conversation}\n".encode())
    assert (report.loaded.layout, len(report.loaded.examples)) == ("messages", 2)


def test_a_sequence_of_messages_by_column(read):
    """`datasets` gives a sequence of structs as an object of lists."""
    row = {"messages": {"role": ["user", "assistant"], "content": ["q", "x"]}}
    (example,) = read("rows.jsonl", json.dumps(row).encode()).loaded.examples
    assert example.messages == [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}]


@pytest.mark.parametrize(
    "content",
    [["a", "b"], [{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}], "ab"],
)
@pytest.mark.parametrize(("asks", "answers"), [("prompter", "ai"), ("human", "chatgpt"), ("User", "Chatbot")])
def test_parts_and_roles_of_other_tools(read, content, asks, answers):
    turns = [{"role": asks, "content": content}, {"role": answers, "content": "x"}]
    (example,) = read("rows.jsonl", json.dumps({"messages": turns}).encode()).loaded.examples
    assert example.messages == [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "x"}]


REFUSED = {
    "UTF-16 without a mark": (
        "table.csv",
        "prompt\tchosen".encode("utf-16-le"),
        "is UTF-16 text without a byte",
    ),
    "of the other order": (
        "rows.jsonl",
        LINE.encode("utf-16-be"),
        "is UTF-16 text without a byte order mark",
    ),
    "Parquet by another name": ("rows.jsonl", b"PAR1\x15\x04\x15", "is a Parquet file; name it .parquet"),
    "Arrow": ("rows.jsonl", b"ARROW1\x00\x00", "is an Arrow file; save it as Parquet"),
    "a stream of Arrow": ("rows.jsonl", b"\xff\xff\xff\xff\x10\x00", "is an Arrow stream"),
    "an old spreadsheet": ("table.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "is a spreadsheet of an old Excel"),
    "encoded twice": (
        "rows.jsonl",
        json.dumps(LINE).encode(),
        "row 1 is text that holds JSON, which was encoded",
    ),
    "texts": ("rows.json", b'["a", "b"]', "row 1 is text, not an object with columns"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_file_really_is(read, case):
    name, content, said = REFUSED[case]
    with pytest.raises(UserError, match=said):
        read(name, content)


def test_a_folder_of_files_names_some(tmp_path):
    """A clone of a repository of the hub, or a folder that Spark wrote."""
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("x")
    for n in range(5):
        (tmp_path / "data" / f"train-{n}.parquet").write_bytes(b"")
    listed = "data/train-0.parquet, data/train-1.parquet, data/train-2.parquet"
    with pytest.raises(UserError, match=rf"did not save; name one of its files, such as {listed}\.$"):
        check_file(tmp_path)


def test_a_link_to_a_file_that_is_not_there(tmp_path):
    (tmp_path / "rows.jsonl").symlink_to("blobs/1234")
    with pytest.raises(UserError, match=r"rows\.jsonl: is a link to blobs/1234, where there is no file"):
        check_file(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("https://huggingface.co/datasets/trl-lib/tldr", "give the hub id, trl-lib/tldr"),
        ("hf://datasets/trl-lib/tldr", "give the hub id, trl-lib/tldr"),
        ("https://example.org/rows.jsonl", "download the file first"),
        ("s3://bucket/rows.jsonl", "download the file first"),
    ],
)
def test_an_address_is_no_path(address, fix):
    with pytest.raises(UserError, match=rf"is an address; {fix}"):
        check_file(address)
