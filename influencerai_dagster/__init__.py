"""InfluencerAI: images and videos of virtual influencers for many tenants, as one Dagster project.

The layout, and who may import whom, is in docs/architecture.md; `definitions.py` is what Dagster
loads.
"""
