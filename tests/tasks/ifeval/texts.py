"""Answers made up for one instruction: some that follow it, some that nearly do, and odd ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.odd_text import TEXT

LANGUAGES = {
    "ar": "في يوم من الأيام كان هناك رجل يعيش في قرية صغيرة بالقرب من البحر",
    "bg": "Имало едно време един човек който живеел в малко село близо до морето",
    "bn": "একদা সমুদ্রের কাছে একটি ছোট গ্রামে একজন মানুষ বাস করত",
    "de": "Es war einmal ein Mann, der in einem kleinen Dorf nahe am Meer wohnte",
    "en": "once upon a time there was a man who lived in a small village near the sea",
    "fa": "روزی روزگاری مردی بود که در روستای کوچکی نزدیک دریا زندگی می‌کرد",
    "fi": "Olipa kerran mies, joka asui pienessä kylässä lähellä merta",
    "gu": "એક સમયે દરિયા નજીકના નાના ગામમાં એક માણસ રહેતો હતો",
    "hi": "एक समय की बात है, समुद्र के पास एक छोटे से गाँव में एक आदमी रहता था",
    "it": "C'era una volta un uomo che viveva in un piccolo villaggio vicino al mare",
    "kn": "ಒಂದಾನೊಂದು ಕಾಲದಲ್ಲಿ ಸಮುದ್ರದ ಬಳಿ ಒಂದು ಸಣ್ಣ ಹಳ್ಳಿಯಲ್ಲಿ ಒಬ್ಬ ಮನುಷ್ಯ ವಾಸಿಸುತ್ತಿದ್ದನು",
    "ko": "옛날 옛적에 바다 근처의 작은 마을에 한 남자가 살았습니다",
    "ml": "പണ്ട് കടലിനടുത്തുള്ള ഒരു ചെറിയ ഗ്രാമത്തിൽ ഒരു മനുഷ്യൻ താമസിച്ചിരുന്നു",
    "mr": "एके काळी समुद्राजवळच्या एका लहान गावात एक माणूस राहत होता आणि त्याला मुले होती",
    "ne": "एकादेशमा समुद्र नजिकैको सानो गाउँमा एक जना मानिस बस्थे र उनका छोराछोरी थिए",
    "pa": "ਇੱਕ ਵਾਰ ਸਮੁੰਦਰ ਦੇ ਨੇੜੇ ਇੱਕ ਛੋਟੇ ਜਿਹੇ ਪਿੰਡ ਵਿੱਚ ਇੱਕ ਆਦਮੀ ਰਹਿੰਦਾ ਸੀ",
    "pl": "Dawno temu żył człowiek, który mieszkał w małej wiosce niedaleko morza",
    "pt": "Era uma vez um homem que vivia numa pequena aldeia perto do mar e não tinha filhos",
    "ru": "Жил-был человек, который жил в маленькой деревне недалеко от моря",
    "sw": "Hapo zamani za kale kulikuwa na mtu aliyeishi katika kijiji kidogo karibu na bahari",
    "ta": "ஒரு காலத்தில் கடலுக்கு அருகில் ஒரு சிறிய கிராமத்தில் ஒரு மனிதன் வாழ்ந்தான்",
    "te": "ఒకప్పుడు సముద్రం దగ్గర ఒక చిన్న గ్రామంలో ఒక మనిషి నివసించేవాడు",
    "th": "กาลครั้งหนึ่งนานมาแล้วมีชายคนหนึ่งอาศัยอยู่ในหมู่บ้านเล็กๆใกล้ทะเล",
    "uk": "Жив собі чоловік, який мешкав у маленькому селі біля моря",
    "ur": "ایک دفعہ کا ذکر ہے کہ سمندر کے قریب ایک چھوٹے سے گاؤں میں ایک آدمی رہتا تھا",
    "vi": "Ngày xửa ngày xưa có một người đàn ông sống ở một ngôi làng nhỏ gần biển",
}

ENGLISH = LANGUAGES["en"]

ODD_ANSWERS = (
    "", " \n\t ", TEXT, "123 456", "...", "!!!", "* ", "*\n*\n-\n", "***", "******", "a******b",
    "******a******b", "a*** ***b", "<<>>", "<<<a>>", "<< >>", "<<a\nb>>", ">><<", "[a[b]c]", "[]", "[a\nb]",
    "\"", "\"\"", "\"a\"\n",
    "{}", "```json\n{}\n```", "[1,", "NaN", "```", "**a**b*c*", "* *", "** **", "***a***", "p. s.",
    "P.P.S.", "p.\ns.",
    "Dr. Smith met e.g. Mr. Jones at 5 p.m. on Jan. 3. He said \"Hi!\" (Really.) Then he left... OK? Yes!!",
    "NASA's U.S. plan isn't \"DON'T\". I CANNOT AGREE-TO IT, A.B.C.", "My answer is yes.",
    "MY ANSWER IS YES.",
    "İSTANBUL ISTANBUL ıI", "ΟΔΟΣ straße STRASSE", "first\r\nsecond\r\n\r\nthird",
    "a\u2028b\u2029c\x85d\x0be",
)  # fmt: skip
"""Blank, broken, nested and foreign texts; abbreviations, contractions and line ends of all kinds."""


def following(name: str, given: Mapping[str, Any]) -> list[str]:
    """Answers that follow the instruction, or miss it by one."""
    kind = name.partition(":")[2]
    counted = {
        "number_words": ("num_words", lambda n: "word " * n),
        "number_sentences": ("num_sentences", lambda n: "Dr. Low sat down. " * n),
        "number_paragraphs": ("num_paragraphs", lambda n: "\n***\n".join(["Text"] * n)),
        "number_placeholders": ("num_placeholders", lambda n: "[name] and " * n),
        "number_bullet_lists": ("num_bullets", lambda n: "\n".join(["* point", " - point"] * n)[: 8 * n]),
        "number_highlighted_sections": ("num_highlights", lambda n: "*so* and " * n),
        "capital_word_frequency": ("capital_frequency", lambda n: "NASA's and " * n),
    }
    if kind in counted:
        parameter, make = counted[kind]
        return [make(max(0, given[parameter] + more)) for more in (-1, 0, 1)]
    return _WAYS[kind](given)


def _paragraphs(given: Mapping[str, Any]) -> list[str]:
    parts = ["Text"] * given["num_paragraphs"]
    parts[given["nth_paragraph"] - 1] = f"'{given['first_word'].title()}, then"
    return ["\n\n".join(parts), "\n\n".join(parts[:-1]), "\n\n\n\n".join(parts)]


_WAYS = {
    "existence": lambda given: [" ".join(given["keywords"]).upper(), "x".join(given["keywords"][1:])],
    "frequency": lambda given: [f"{given['keyword']}s " * (given["frequency"] + more) for more in (-1, 0)],
    "forbidden_words": lambda given: [
        "Fine.",
        f"A {given['forbidden_words'][-1].upper()}!",
        f"{given['forbidden_words'][0]}s",
    ],
    "letter_frequency": lambda given: [
        given["letter"].upper() * (given["let_frequency"] + more) + " 1" for more in (-1, 0)
    ],
    "no_comma": lambda _: ["None here", "One, here"],
    "response_language": lambda given: [LANGUAGES[given["language"]], ENGLISH, "مرحبا hello"],
    "nth_paragraph_first_word": _paragraphs,
    "postscript": lambda given: [
        f"Text\n{given['postscript_marker']} more",
        f"Text\n{given['postscript_marker'].replace('.', '. ').lower()} more",
    ],
    "multiple_sections": lambda given: [
        f"{given['section_spliter']} 12\ntext\n" * (given["num_sections"] + more) for more in (-1, 0, 1)
    ],
    "title": lambda _: ["<<A title>>\ntext", "<A title>\ntext"],
    "json_format": lambda _: [json.dumps({"a": [1, "b"]}), '```json\n{"a": 1}\n```', "{'a': 1}"],
    "constrained_response": lambda _: ["So: My answer is maybe. Thanks.", "My answer is no"],
    "two_responses": lambda _: ["One\n******\nTwo", "One\n******\nOne", "One ****** Two ******"],
    "repeat_prompt": lambda given: [
        given["prompt_to_repeat"].upper() + "\n\nYes.",
        "Sure. " + given["prompt_to_repeat"],
    ],
    "end_checker": lambda given: [
        f'"Text. {given["end_phrase"].upper()}"\n',
        f"Text. {given['end_phrase']} Bye",
    ],
    "quotation": lambda _: ['"Text"', '"Text" he said', '"Text'],
    "english_capital": lambda _: [ENGLISH.upper(), ENGLISH, LANGUAGES["de"].upper(), "OK"],
    "english_lowercase": lambda _: [ENGLISH, ENGLISH.upper(), LANGUAGES["de"].lower(), "ok"],
}


def dressed(text: str) -> list[str]:
    """The text as models like to present it: after a line of politeness, before one, in bold."""
    return [text, f"Sure, here it is:\n{text}", f"{text}\n\nI hope this helps!", f"**{text}**\nBye"]
