"""Five mixers on the same pairs: their scores, and which of them can be told apart.

Runs on the demo data as it is. For data of your own: data="cub-gha", root="DATA", model="CKPT", num_pairs=2000.
"""

import gazeeval as ge

METHODS = ["cutmix", "resizemix", "saliencymix", "fmix", "gridmixup"]

runs = ge.evaluate(METHODS, num_pairs=40)

scores = runs.summary.query("metric == 'inconsistency' and subset == 'all'").sort_values("estimate")
print("inconsistency in percent, lower is better; ref: rows need no method")
for row in scores.itertuples():
    print(f"{row.method:14}{100 * row.estimate:6.1f}  [{100 * row.ci_low:.1f}, {100 * row.ci_high:.1f}]")

tests = ge.compare(runs, baseline="cutmix")
print("\nagainst cutmix, in points; 'detectable' is the smallest difference that so few pairs would show")
for row in tests.itertuples():
    verdict = "differs" if row.p_adjusted < 0.05 else "cannot be told apart"
    print(f"{row.method_a:14}{100 * row.diff:+6.1f}  detectable {100 * row.mde:4.1f}  {verdict}")
