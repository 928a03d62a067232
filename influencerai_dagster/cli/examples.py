"""Examples in the help of each command; a test runs each through the parser."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "up",
        "tenant add acme",
        "dataset upload ~/photos/nova --tenant acme",
        'generate --tenant acme --lora nova --prompt "nova, at the beach"',
    ),
    "up": ("up",),
    "demo": ("demo", "demo --exit"),
    "doctor": ("doctor", "doctor --json"),
    "migrate": ("migrate",),
    "generate": (
        'generate --tenant demo --lora bella --prompt "bella, at the beach at sunset" --count 8',
        'generate --tenant demo --lora bella --prompt "bella, dancing" --video --platform tiktok',
    ),
    "restore": (
        "restore --to latest --into /srv/postgres-data --dry-run",
        "restore --to 2026-11-20T03:00Z --into postgresql://admin@db/",
    ),
    "tenant add": ("tenant add acme", "tenant add acme --gpu-weight 2"),
    "tenant set-weight": ("tenant set-weight acme 0.5",),
    "tenant list": ("tenant list", "tenant list --json"),
    "tenant show": ("tenant show acme",),
    "influencer add": (
        'influencer add nova --tenant acme --trigger-phrase "nova woman" --class-caption "woman"',
    ),
    "influencer list": ("influencer list --tenant acme",),
    "influencer show": ("influencer show nova --tenant acme",),
    "dataset upload": ("dataset upload ~/photos/nova --tenant acme",),
    "lora config": (
        "lora config quick --tenant acme --overrides '{\"max_train_steps\": 800}' --default",
    ),
    "jobs list": (
        "jobs list --tenant demo --status failed",
        "jobs list --tenant demo --json",
    ),
    "jobs show": ("jobs show 92ff33aa-68e1-4f63-9292-afaff94898db --tenant demo",),
    "jobs link": ("jobs link 92ff33aa-68e1-4f63-9292-afaff94898db --tenant demo",),
    "jobs submit": (
        "jobs submit orders.json --tenant demo --idempotency-key order-17",
        "jobs submit - --tenant demo --kind video",
    ),
    "jobs cancel": (
        "jobs cancel 92ff33aa-68e1-4f63-9292-afaff94898db --tenant demo",
        "jobs cancel --all --tenant demo --day 2026-11-23",
    ),
    "jobs watch": ("jobs watch", "jobs watch --tenant demo --once"),
    "retention report": ("retention report",),
    "retention days": ("retention days 30 --tenant acme",),
    "retention hold": ("retention hold --tenant acme",),
    "retention release": ("retention release --tenant acme",),
    "backup now": ("backup now", "backup now --incremental --no-objects"),
    "backup list": ("backup list --json",),
    "backup verify": ("backup verify", "backup verify 20261120T020000"),
    "backup prune": ("backup prune --dry-run",),
    "backup receive-wal": ("backup receive-wal",),
    "backup objects": ("backup objects",),
    "backup drill": ("backup drill", "backup drill --to 2026-11-20T03:00Z"),
    "backup fetch": ("backup fetch", "backup fetch --objects"),
}
