"""The report page: everything is listed, nothing breaks out, no two kinds of credits become one."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.costs import ItemCost
from prefect_imagine.billing.usage import BalanceChange, balance_change
from prefect_imagine.providers.models import GenerationKind, Output
from prefect_imagine.reports.report_page import EXCERPT
from tests.reports.report_items import HOSTILE, make_item, make_line, make_usage, rendered, stored


class Page(HTMLParser):
    """The elements of a page, and its text by element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._json: list[str] = []
        self._path: list[str] = []
        self._in_json = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._path.append(tag)
        self._in_json = tag == "script" and ("id", "items") in attrs

    def handle_endtag(self, tag: str) -> None:
        self._in_json = False
        while tag in self._path and self._path.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._in_json:
            self._json.append(data)
        elif not {"script", "style"} & set(self._path):
            self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(1 for name, _ in self.elements if name == tag)

    def attributes(self, *names: str) -> list[str]:
        return [value for _, attrs in self.elements for name in names if (value := attrs.get(name))]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    @property
    def cards(self) -> list[dict[str, Any]]:
        cards: list[dict[str, Any]] = json.loads("".join(self._json))
        return cards


def output_of(page: Page, place: int = 0) -> dict[str, Any]:
    output: dict[str, Any] = page.cards[0]["outputs"][place]
    return output


PLAIN = Page(rendered([make_item()], make_usage()))


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_stays_text(text: str) -> None:
    item = make_item(
        prompt=text,
        name=text,
        model=text,
        labels={text: text},
        reason=text,
        error=text,
        id=text,
        status=Phase.FAILED,
        outputs=(stored("outputs/1.txt", "text/plain", text=text),),
    )
    lines = (make_line(text, charged=1),)
    balances = (BalanceChange(provider=text, before=1, after=0, charged=1, verdict="explained", note=text),)
    usage = make_usage(batch_id=text, by_provider=lines, by_model=lines, by_label=lines, balances=balances)
    page = Page(rendered([item], usage))
    assert page.count("script") == PLAIN.count("script") == 3
    assert page.count("img") == PLAIN.count("img") == 0
    assert page.count("noscript") == 1
    handlers = [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert handlers == []
    card = page.cards[0]
    assert {card["prompt"], card["name"], card["error"], card["id"], card["model"]} == {text}
    assert " ".join(text.split()) in page.words.replace("\ufffd", "\x00")


def test_the_data_block_holds_nothing_that_html_or_old_scripts_could_read() -> None:
    html = rendered([make_item(index, text) for index, text in enumerate(HOSTILE, 1)], make_usage(8))
    block = html.partition('id="items">')[2].partition("</script>")[0]
    assert [card["prompt"] for card in json.loads(block)] == HOSTILE
    assert not re.search("[<>&\u2028\u2029]", block)


def test_the_page_asks_the_network_for_nothing() -> None:
    page = Page(rendered([make_item(outputs=(stored("outputs/1.png"),))], make_usage()))
    policy = next(attrs["content"] for _, attrs in page.elements if "http-equiv" in attrs)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert [address for address in page.attributes("src", "href") if not address.startswith("#")] == [
        "data:,",
        "outputs/1.png",
    ]


def test_links_are_relative_and_encoded() -> None:
    page = Page(rendered([make_item(outputs=(stored("outputs/00001-ü #1 50%?.png"),))], make_usage()))
    expected = "outputs/00001-%C3%BC%20%231%2050%25%3F.png"
    assert output_of(page)["href"] == expected
    assert expected in page.attributes("href")


def test_a_key_never_becomes_a_scheme() -> None:
    page = Page(rendered([make_item(outputs=(stored("javascript:alert(1)"),))], make_usage()))
    assert output_of(page)["href"] == "javascript%3Aalert%281%29"


def test_given_links_are_used_as_they_are() -> None:
    link = "https://bucket.example/outputs/1.png?X-Amz-Signature=ab%2Fc&X-Amz-Expires=9"
    html = rendered(
        [make_item(outputs=(stored("outputs/1.png"),))], make_usage(), links={"outputs/1.png": link}
    )
    assert output_of(Page(html))["href"] == link


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "data:image/svg+xml;base64,AAAA",
        "vbscript:x",
        "file:///etc/passwd",
        "//elsewhere.example/x.png",
        "https:\\\\elsewhere.example",
    ],
)
def test_other_addresses_are_left_out(address: str) -> None:
    output = stored("outputs/1.png", thumbnail="thumbnails/1.webp")
    html = rendered(
        [make_item(outputs=(output,))],
        make_usage(),
        links={"outputs/1.png": address, "thumbnails/1.webp": address},
    )
    assert output_of(Page(html))["href"] == ""
    assert output_of(Page(html))["thumbnail"] == ""


def test_thumbnails_are_linked_as_outputs_are() -> None:
    output = stored("outputs/1.png", thumbnail="thumbnails/ü 1.webp")
    html = rendered([make_item(outputs=(output,))], make_usage())
    assert output_of(Page(html))["thumbnail"] == "thumbnails/%C3%BC%201.webp"
    signed = "https://bucket.example/thumbnails/1.webp?X-Amz-Signature=ab"
    html = rendered([make_item(outputs=(output,))], make_usage(), links={"thumbnails/ü 1.webp": signed})
    assert output_of(Page(html))["thumbnail"] == signed
    html = rendered([make_item(outputs=(stored("outputs/1.png"),))], make_usage())
    assert output_of(Page(html))["thumbnail"] == ""


def test_a_provider_address_is_never_shown() -> None:
    html = rendered(
        [make_item(outputs=(stored("outputs/1.png", url="https://cdn.example/1?token=s3cret"),))],
        make_usage(),
    )
    assert "s3cret" not in html


def test_charged_estimated_and_possible_credits_stay_apart() -> None:
    amounts: dict[str, Any] = {"charged": 1200, "estimated": 34.5, "possible": 7}
    usage = make_usage(
        items=3,
        unpriced_items=2,
        by_provider=(make_line("imaginelab", **amounts),),
        by_model=(make_line("imaginelab/image/flux", **amounts),),
        **amounts,
    )
    items = [
        make_item(1, cost=ItemCost(charged=1200)),
        make_item(2, cost=ItemCost(estimated=34.5)),
        make_item(3, cost=ItemCost(possible=7, unpriced=1, refund_unknown=True), status=Phase.UNKNOWN),
    ]
    page = Page(rendered(items, usage))
    assert "Charged 1,200 as the providers said" in page.words
    assert "Estimated 34.5 by price list" in page.words
    assert "Possible 7 estimated, for creates" in page.words
    assert "Unpriced items 2" in page.words
    assert not re.search(r"1,?234\.5|1,?241\.5|41\.5", page.words)
    assert [card["costs"] for card in page.cards] == [
        [["charged", "1,200"]],
        [["estimated", "34.5"]],
        [["possible", "7"], ["unpriced", "1"], ["refund unknown", ""]],
    ]


def test_charged_and_estimated_credits_have_charts_of_their_own() -> None:
    items = [
        make_item(1, cost=ItemCost(charged=10)),
        make_item(2, cost=ItemCost(estimated=5)),
        make_item(3, cost=ItemCost(charged=10)),
    ]
    page = Page(rendered(items, make_usage(3, by_provider=(make_line("imaginelab", charged=20),))))
    charts = {attrs["class"]: attrs["data-chart"] for tag, attrs in page.elements if tag == "figure"}
    assert list(charts) == ["chart charged", "chart estimated"]
    ends = {name: json.loads(chart or "")["bands"][0]["sums"][-1] for name, chart in charts.items()}
    assert ends == {"chart charged": 20, "chart estimated": 5}


def test_bars_compare_only_amounts_of_one_provider() -> None:
    usage = make_usage(
        by_provider=(make_line("a", charged=8), make_line("b", charged=1000, estimated=500)),
        by_model=(
            make_line("a/image/x", charged=8),
            make_line("b/image/deep/name", charged=1000, estimated=500),
        ),
    )
    page = Page(rendered([], usage))
    widths = page.attributes("style")
    assert [style for style in widths if style.startswith("width")] == [
        "width:100.0%",
        "width:100.0%",
        "width:50.0%",
    ]
    kinds = [kind for kind in page.attributes("class") if kind.startswith("bar ")]
    assert kinds == ["bar charged", "bar charged", "bar estimated"]
    assert "image/deep/name" in page.words


def test_an_empty_batch() -> None:
    page = Page(rendered([], make_usage(0)))
    assert page.cards == []
    assert "0 of 0 items stored" in page.words
    assert "This batch has no items." in page.words


def test_failures_are_grouped_by_reason_the_commonest_first() -> None:
    items = [
        make_item(1, status=Phase.UNKNOWN, reason="unknown", error="no answer"),
        make_item(2, status=Phase.FAILED, reason="moderation", error="flagged", name="second"),
        make_item(3, status=Phase.FAILED, reason="moderation", error="flagged"),
        make_item(4),
    ]
    page = Page(rendered(items, make_usage(4)))
    links = [link for link in page.attributes("href") if link.startswith(("#reason", "#item"))]
    assert links == ["#reason=moderation", "#item=2", "#reason=unknown", "#item=1"]


def test_a_paid_item_that_is_not_stored_yet_counts_as_the_bill_counts_it() -> None:
    cards = Page(
        rendered(
            [
                make_item(1, status=Phase.FINISHED, reason="download_failed", error="403"),
                make_item(2, status=Phase.CREATED),
            ],
            make_usage(2),
        )
    ).cards
    assert [(card["status"], card["phase"]) for card in cards] == [
        ("failed", "finished"),
        ("under way", "created"),
    ]


def test_balances_come_with_their_verdict() -> None:
    balances = (balance_change("imaginelab", 100, 90, 10), balance_change("blockadelabs", 50, 30, 10))
    page = Page(rendered([make_item()], make_usage(balances=balances)))
    assert "explained the balance fell by exactly what the jobs cost" in page.words
    assert "unexplained the balance fell by 20" in page.words


def test_texts_are_excerpts() -> None:
    text = "word " * EXCERPT
    item = make_item(
        kind=GenerationKind.TEXT, outputs=(stored("outputs/1.txt", "text/plain; charset=utf-8"),)
    )
    output = output_of(Page(rendered([item], make_usage(), texts={"outputs/1.txt": text})))
    assert output["as"] == "text"
    assert output["text"] == f"{text[:EXCERPT]}…"


@pytest.mark.parametrize(
    ("kind", "media_type", "shown_as"),
    [
        (GenerationKind.IMAGE, "image/png", "image"),
        (GenerationKind.IMAGE, "model/gltf-binary", "file"),
        (GenerationKind.IMAGE, "video/mp4", "video"),
        (GenerationKind.INFOGRAPHIC, None, "image"),
        (GenerationKind.MUSIC, None, "audio"),
        (GenerationKind.VOICE, "audio/mpeg", "audio"),
        (GenerationKind.TEXT, None, "text"),
    ],
)
def test_an_output_is_shown_as_what_it_is(
    kind: GenerationKind, media_type: str | None, shown_as: str
) -> None:
    item = make_item(kind=kind, outputs=(Output(key="outputs/1", media_type=media_type),))
    assert output_of(Page(rendered([item], make_usage())))["as"] == shown_as


def test_without_scripts_every_item_and_output_is_listed() -> None:
    outputs = tuple(stored(f"outputs/00001-{number}.png") for number in range(1, 5))
    page = Page(rendered([make_item(outputs=outputs), make_item(2, "a heron")], make_usage(2)))
    assert [link for link in page.attributes("href") if link.startswith("outputs/")] == [
        f"outputs/00001-{number}.png" for number in range(1, 5)
    ]
    assert "a heron" in page.words


def test_two_thousand_items() -> None:
    items = [
        make_item(index, HOSTILE[index % len(HOSTILE)], outputs=(stored(f"outputs/{index:05}.png"),))
        for index in range(1, 2001)
    ]
    page = Page(rendered(items, make_usage(2000)))
    assert [card["index"] for card in page.cards] == list(range(1, 2001))
    assert page.count("img") == 0


def test_the_same_batch_gives_the_same_page() -> None:
    items = [make_item(labels={"b": "2", "a": "1"})]
    assert rendered(items, make_usage()) == rendered(items, make_usage())


def test_withdrawn_items_are_shown_and_are_no_failures() -> None:
    """One had failed before nobody asked for it any more."""
    withdrawn = [
        make_item(index, status=Phase.WITHDRAWN, reason=reason, stored_at=None)
        for index, reason in ((2, None), (3, "moderation"))
    ]
    page = Page(
        rendered([make_item(1, outputs=(stored("a.png"),)), *withdrawn], make_usage(3, stored=1, withdrawn=2))
    )
    assert "1 of 1 item stored" in page.words
    assert "withdrawn 2" in page.words
    assert "Not stored, by reason" not in page.words
    assert [card["status"] for card in page.cards] == ["stored", "withdrawn", "withdrawn"]
    assert "withdrawn" not in Page(rendered([make_item(1)], make_usage(1))).words
