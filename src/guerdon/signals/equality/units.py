"""Units of measure at the end of an answer: a known list, and words that count things."""

import re

_NAMES = {
    "m": "metre metres meter meters",
    "cm": "centimetre centimetres centimeter centimeters",
    "mm": "millimetre millimetres millimeter millimeters",
    "km": "kilometre kilometres kilometer kilometers kms",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards yds",
    "mi": "mile miles",
    "g": "gram grams",
    "kg": "kilogram kilograms kgs",
    "mg": "milligram milligrams",
    "lb": "lbs pound pounds",
    "oz": "ounce ounces",
    "ton": "tons tonne tonnes",
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "l": "L litre litres liter liters",
    "ml": "mL millilitre millilitres milliliter milliliters",
    "gal": "gallon gallons",
    "cup": "cups",
    "degree": "degrees deg",
    "rad": "radian radians",
    "degC": "celsius C",
    "degF": "fahrenheit F",
    "K": "kelvin",
    "N": "newton newtons",
    "J": "joule joules",
    "W": "watt watts",
    "V": "volt volts",
    "A": "ampere amperes amps amp",
    "Pa": "pascal pascals",
    "Hz": "hertz",
    "mol": "mole moles",
    "dollar": "dollars USD usd",
    "cent": "cents",
    "euro": "euros EUR eur",
    "rupee": "rupees",
    "unit": "units",
    "person": "people persons",
}
UNITS = {spelling: unit for unit, spellings in _NAMES.items() for spelling in (unit, *spellings.split())}
"""Spelling -> unit."""
UNITS |= {"mph": "mi/h", "kmh": "km/h", "kph": "km/h", "rpm": "revolution/min"}
_SIGNS = {"$": "dollar", "€": "euro", "£": "pound sterling", "¥": "yen"}
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
"""Words that multiply the number before them."""
_MORE_THAN_UNITS = (
    "or and not no nor if is than to either maybe perhaps possibly half halves third thirds quarter quarters double "
    "twice triple times squared cubed factorial plus minus negative over divided by mod modulo point through between "
    "more less least most about approximately around nearly almost one two three four five six seven eight nine ten "
    "zero infinity percent pi e i x y z n but wait correct wrong answer"
)
_NOT_UNITS = frozenset(_MORE_THAN_UNITS.split()) | set(SCALES)
_WORD = re.compile(r"[A-Za-z]+")
_POWER = re.compile(r"\^\{?([23])\}?|([²³])")
_RAISED = {"²": "2", "³": "3", "square": "2", "sq": "2", "cubic": "3", "cu": "3"}


def unit_of_sign(sign: str) -> str:
    """The unit of a currency sign."""
    return _SIGNS[sign]


def read_unit(text: str) -> str | None:
    """One spelling for a unit as it stands after a number; None where these words are no unit.

    ``cm^2``, ``square centimetres`` and ``sq cm`` are the same; ``km/h``, ``km per hour`` too. Words that are not in
    the list count things ("apples", "red apples") unless one of them says more ("or", "half", "million").
    """
    sides = re.split(r"/|\bper\b", text.replace(".", " "))
    if not 1 <= len(sides) <= 2:
        return None
    read = [_side(side) for side in sides]
    return None if None in read else "/".join(str(side) for side in read)


def _side(text: str) -> str | None:
    power = ""
    found = _POWER.search(text)
    if found:
        power = found[1] or _RAISED[found[2]]
        text = text[: found.start()] + text[found.end() :]
    words = text.split()
    if not words or len(words) > 4 or not all(_WORD.fullmatch(word) for word in words):
        return None
    if words[0].lower() in ("square", "sq", "cubic", "cu") and len(words) > 1:
        power, words = _RAISED[words[0].lower()], words[1:]
    if len(words) == 1 and (words[0] in UNITS or words[0].lower() in UNITS):
        return UNITS.get(words[0], UNITS.get(words[0].lower(), "")) + power
    if power or any(word.lower() in _NOT_UNITS for word in words) or min(map(len, words)) < 2:
        return None
    return "?" + " ".join(word.lower().removesuffix("s") for word in words)


def same_unit(one: str | None, other: str | None) -> bool:
    """Whether two units agree: equal, absent on one side, or counting words that share a word."""
    if one is None or other is None or one == other:
        return True
    if one[0] == "?" and other[0] == "?":
        return bool(set(one[1:].split()) & set(other[1:].split()))
    return False
