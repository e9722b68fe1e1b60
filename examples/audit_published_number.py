"""What would a published difference have to survive? TdAttenMix, Table 4: with top-down attention 18.4, without 19.0.

Three questions about a difference of two methods: is it larger than what so many pairs can show, does it outlast other
ways from fixations to a density, and where are the rows that know nothing of the image? The demo data only show how it
is asked; data="cub-gha", root="DATA", model="CKPT", num_pairs=2000 ask in earnest.
"""

import tempfile
from pathlib import Path

import gazeeval as ge
from gazeeval.robustness.sensitivity import sensitivity

ONE, OTHER, PUBLISHED = "tdattenmix", "tdattenmix-bottomup", 0.6  # points

with tempfile.TemporaryDirectory() as folder:
    runs = ge.evaluate([ONE, OTHER, "cutmix"], num_pairs=40, input_size=70, out=Path(folder) / "run")

    (found,) = ge.compare(runs, baseline=OTHER).query("method_a == @ONE").itertuples()
    needed = found.n * (100 * found.mde / PUBLISHED) ** 2
    print(f"{ONE} - {OTHER}: {100 * found.diff:+.1f} points [{100 * found.ci_low:+.1f}, {100 * found.ci_high:+.1f}]")
    print(f"to see {PUBLISHED} points takes about {needed:,.0f} pairs; here there are {found.n}\n")

    recipes = sensitivity(runs.folder, sigma="5px,9px,18px", weight="duration,count").scores
    table = 100 * recipes.pivot_table(index="recipe", columns="method", values="estimate", sort=False)
    print(table[[ONE, OTHER, "cutmix", "ref:centre"]].round(1).to_string())
    span = table[ONE].max() - table[ONE].min()
    print(f"\nthe recipe alone moves {ONE} by {span:.1f} points")
