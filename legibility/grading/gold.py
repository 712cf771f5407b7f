"""Gold answers as data sets write them: a JSON number, a number with its unit, a float with noise.

What `grade` compares with must be one number. Here the number is taken out of what stands in an answer field or
behind the marker of a worked solution, and what would have to be guessed is refused. A prover's own answer line is
read strictly by `legibility.grading.answer`; units there are no number.
"""

from __future__ import annotations

import re

from legibility.grading.answer import MAX_ANSWER_CHARS, parse_number

# A number, and behind it words or one bracket without digits: "9 apples", "9 (square feet)", "60 km/h".
_WITH_UNIT = re.compile(
    r"(?P<number>[+-]?(?:[$€£] ?)?[^\sA-Za-z(]+(?: ?%)?)"
    r"(?:[ \t]*\((?P<bracket>[^()0-9\n]{1,60})\)|[ \t]+(?P<words>[^\W\d_][^()0-9\n=]{0,60})|(?P<joined>[A-Za-z]{2,12}))\.?"
)
# Words that change the number before them, or make one of two: "9 dozen", "9 and a half", "9 or ten", "2nd".
_CHANGES = frozenset(
    re.findall(
        r"\w+",
        """
        hundred hundreds thousand thousands million millions mill mil billion billions trillion trillions
        quadrillion quadrillions quintillion quintillions bn mn tn k lakh lakhs lac lacs crore crores myriad
        dozen dozens score scores gross grand half halves third thirds quarter quarters fourth fourths fifth fifths
        sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths eleventh elevenths twelfth twelfths
        fifteenth fifteenths sixteenth sixteenths twentieth twentieths hundredth hundredths thousandth thousandths
        millionth millionths billionth billionths st nd rd th
        and or to plus minus negative below times fold x by than over squared cubed point remainder rem r e pi
        factorial
        zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
        eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety tens twenties
        """,
    )
)
_ANY_NUMBER = MAX_ANSWER_CHARS + 80


def read_gold(text: str) -> str | None:
    """The number of a gold answer as text that `parse_number` reads: as written, without its unit.

    "9 (apples)" and "9 apples" are "9", "$9.00" and "9%" stay as they are. None where there is no one number: no
    number at all, two of them, or words that change it ("9 dozen", "9 and a half", "9 or ten").
    """
    text = text.strip()
    if parse_number(text) is not None:
        return text
    match = _WITH_UNIT.fullmatch(text) if len(text) <= _ANY_NUMBER else None
    if match is None or parse_number(match["number"]) is None:
        return None
    unit = match["bracket"] or match["words"] or match["joined"]
    return None if not _CHANGES.isdisjoint(re.findall(r"[^\W\d_]+", unit.lower())) else match["number"]
