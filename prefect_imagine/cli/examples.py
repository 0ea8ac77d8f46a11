"""What `--help` shows below the options: commands as people type them."""

from __future__ import annotations

EXIT_CODES = """exit codes:
  0 all stored (or withdrawn)         4 busy, or taken over
  1 some failed or unknown            5 infrastructure lost
  2 bad input, nothing was spent      130, 143 stopped, terminated
  3 stopped by a limit or credits     from 3 on, the same command goes on"""

_EXAMPLES = {
    "": (
        "generate prompts.csv --provider imaginelab --max-credits 500",
        "status prompts --watch",
        "resume prompts",
        "balance imaginelab",
        "demo",
    ),
    "generate": (
        "generate prompts.csv --dry-run",
        "generate prompts.csv --output s3://bucket/art --max-credits 90",
        "generate ideas.txt --provider imaginelab --kind video --again",
    ),
    "resume": (
        "resume prompts",
        "resume s3://bucket/art/prompts --retry-failed",
        "resume outputs/prompts --max-credits 800",
    ),
    "status": (
        "status --output s3://bucket/art",
        "status prompts",
        "status prompts --watch 5",
    ),
    "report": (
        "report prompts",
        "report s3://bucket/art/prompts --presign",
    ),
    "pause": (
        'pause prompts --why "the client has second thoughts"',
        "pause prompts --provider imaginelab",
    ),
    "set": (
        "set prompts --max-credits 800",
        "set prompts --rate imagineapi=30/min",
    ),
    "retry": (
        "retry prompts 17",
        "retry prompts 17 23 --why typo",
    ),
    "cancel": (
        "cancel prompts",
        "cancel prompts --in-flight",
        "cancel --all --output s3://bucket/art",
    ),
    "reconcile": (
        "reconcile prompts",
        "reconcile s3://bucket/art/prompts --json",
    ),
    "find": (
        "find poster.png --output s3://bucket/art",
        "find 9f86d081884c7d65 --json",
    ),
    "credits": (
        "credits",
        "credits --by label --days 1",
        "credits --by day --time-zone Europe/Berlin --csv",
    ),
    "budget": (
        "budget set team --limit imaginelab=1000 --period month",
        "budget list",
        "budget remove team",
    ),
    "budget set": (
        "budget set team --limit imaginelab=1000 --limit imagineapi=400",
        "budget set acme --limit imaginelab=90 --period day --label client=acme",
    ),
    "budget list": (
        "budget list --output s3://bucket/art",
        "budget list --json",
    ),
    "budget remove": ("budget remove team",),
    "load": (
        "load --output s3://bucket/art",
        "load --output s3://bucket/art --provider imaginelab",
        "load --destination postgres --dataset art --no-prompts",
    ),
    "models": (
        "models aivisualstudio",
        "models imaginelab --json",
    ),
    "balance": (
        "balance imaginelab",
        "balance imaginelab --credentials imaginelab=team",
    ),
    "limits": (
        "limits",
        "limits imaginelab --set 60/min",
        "limits --set aivisualstudio=60/10s --set imagineapi=30/min",
    ),
    "collect": (
        "collect --output s3://bucket/art",
        "collect --days 7 --deadline video=10800 --json",
    ),
    "webhooks": (
        "webhooks serve --output s3://bucket/art",
        "webhooks register https://hooks.example.com/aivisualstudio",
        "webhooks list",
    ),
    "webhooks serve": (
        "webhooks serve --output s3://bucket/art",
        "webhooks serve --credentials aivisualstudio=team --wake none",
    ),
    "webhooks url": (
        "webhooks url imagineapi --base https://hooks.example.com",
        "webhooks url blockadelabs nightly-2026-11-28",
    ),
    "webhooks register": (
        "webhooks register https://hooks.example.com/aivisualstudio",
        "webhooks register https://… --event generation.failed",
    ),
    "webhooks list": (
        "webhooks list",
        "webhooks list --credentials aivisualstudio=team --json",
    ),
    "webhooks update": (
        "webhooks update wh_1a2b3c --url https://hooks.example.com/new",
        "webhooks update wh_1a2b3c --inactive",
    ),
    "webhooks remove": (
        "webhooks remove wh_1a2b3c",
        "webhooks remove wh_1a2b3c --credentials aivisualstudio=team",
    ),
    "metrics": (
        "metrics serve --output s3://bucket/art",
        "metrics write /var/lib/node_exporter/imagine.prom",
    ),
    "metrics serve": (
        "metrics serve --output s3://bucket/art",
        "metrics serve --port 9787 --host 0.0.0.0",
    ),
    "metrics write": (
        "metrics write /var/lib/node_exporter/imagine.prom",
        "metrics write imagine.prom --output s3://bucket/art",
    ),
    "setup-automations": (
        "setup-automations",
        "setup-automations --failures 20 --within 5",
        "setup-automations --notify slack-webhook/alerts",
        "setup-automations --remove",
    ),
    "demo": (
        "demo",
        "demo --s3 --json",
    ),
    "sandbox": (
        "sandbox",
        "sandbox --port 0",
    ),
}


def examples_of(command: str) -> str:
    """The examples of a command, or of all together for no name."""
    lines = (f"  prefect-imagine {words}" for words in _EXAMPLES[command])
    return "\n".join(["examples:", *lines])
