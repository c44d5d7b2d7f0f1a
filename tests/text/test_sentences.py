import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.text.sentences import split_sentences

# "|" marks where a sentence ends.
CAPTIONS = [
    "A dog runs.|It is brown.",
    "a dog runs.|it is brown.|2 cats watch.",
    "One sentence without a period",
    "Mr. and Mrs. Jones meet Prof. Li, e.g. for tea, i.e. at 5 p.m. sharp.|They smile.",
    "Dr. Li lives on Sunset Dr.|The house is white.",
    "St. Mary's church on Main St. is old.|A bus waits.",
    "It stands on Main St.|The door is red.",
    "The U.S. Army flag hangs there.|A U.S. flag, too.",
    "It was made in the U.S.|The paint is new.",
    "The clock shows 9 a.m. and it rains.|Then at 10 p.m.|People leave.",
    "No. 5 is blue.|Is it red?|No.|It is no.|It is green.",
    "See fig. 3 and Fig. 4, pp. 5-6, vol. 2, ca. 1900.|A photo from San Jose, CA.|It is sunny.",
    "J. K. Rowling and George R. R. Martin sign books.|A queue forms.",
    "He stands next to vitamin C.|The bottle is green.",
    "The wall is 3.5 m high and .5 m wide.|It costs $1,000.50.|Cheap.",
    "A dog... and a cat.|Wait...|What is it?|A fox… no, a wolf…|Grey.",
    "A dog . . . and a cat . . .|The end .",
    "Really?!|Yes!|Is it?|it is.",
    'A sign says "Stop!" in red.|A man says "Go."|The car waits.',
    "A sign says “Stop.” in red.|“Go.”|The car ‘waits.’|Fine.",
    'It reads "HELLO. " in black.|Next it reads "BYE. "|The end.',
    "He waits (for Mr. Fox.)|(It is late.)|A lamp (broken?) hangs there.",
    "**Bold text.**|*The* end.",
    "1. A dog.|2. A cat.|(3.) A fox.|a. First.|It was 1999.|A good year.",
    "Dogs, cats, etc. are here.|Apples, pears, etc.|They are fresh.",
    "A 6 ft. tall man, approx. 80 lbs. heavy.|A 5 ft. 3 in wide door.|It is 6 ft.|They wait.",
    "Sold by Apple Inc. in May.|Made by Acme Co.|The box is torn.|John Smith Jr. smiles.",
    "Martin Luther King Jr. Day, Jan. 5 and Dec. 24.|It was in Dec.|We met.",
    "It happened, cf. Smith et al. (2020), vs. Jones.|That's all.",
    "A station named after F.D.R.|There's a train.|T. rex is here.",
]


@pytest.mark.parametrize("marked", CAPTIONS)
def test_sentences(marked: str) -> None:
    sentences = marked.split("|")
    assert split_sentences(" ".join(sentences)) == sentences


def test_paragraphs() -> None:
    assert split_sentences("A title\n\nThe dog\nruns. It\r\nbarks.\n \n\nend") == [
        "A title",
        "The dog runs.",
        "It barks.",
        "end",
    ]


@pytest.mark.parametrize("text", ["", "  ", "\n\n \t\n"])
def test_nothing(text: str) -> None:
    assert split_sentences(text) == []


MARKS = 'Dog. St. e.g. U.S. a.m. No. 5 3.5 J. ... . " ." ?! dog The (Dog.) ” 1. …'
words = st.sampled_from([*MARKS.split(), "'", "\n", "\n\n", "\t"])


@given(st.lists(words, max_size=30).map(" ".join) | st.text(max_size=60))
def test_no_character_but_whitespace_is_lost(text: str) -> None:
    sentences = split_sentences(text)
    assert " ".join(sentences) == " ".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences)


@given(st.lists(words, max_size=30).map(" ".join))
def test_whitespace_does_not_matter_within_a_paragraph(text: str) -> None:
    collapsed = " ".join(text.split())
    assert split_sentences(collapsed.replace(" ", " \n\t")) == split_sentences(collapsed)


@given(st.lists(st.sampled_from(["A dog runs.", "Is it red?", "No!", "It costs 3.5."]), max_size=6))
def test_plain_sentences_come_back(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


def test_the_first_sentence() -> None:
    text = "A view of St. Mary's at 5 p.m. in winter. Snow falls."
    assert split_sentences(text)[0] == "A view of St. Mary's at 5 p.m. in winter."
    assert split_sentences("Only one.") == ["Only one."]


def test_marks_that_stand_alone_in_any_number_are_one_sentence() -> None:
    text = " ".join("." * 50_000)
    assert split_sentences(text) == [text]
