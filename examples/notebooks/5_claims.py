"""The paper's claims, judged from the committed records. See benchmarks/pages."""

# %% [markdown]
# # The paper's claims, judged
#
# The study's runs are committed as records: config, seeds, machine, scorecards,
# curves. What is concluded is computed from them, never written by hand. This notebook needs a
# checkout, no GPU and no training.

# %%
from pathlib import Path

from trainers.campaigns.study.claims import claims
from trainers.campaigns.study.protocol import PROTOCOLS, planned
from trainers.campaigns.study.records import load
from trainers.campaigns.study.tables import Stage, quality_table

here = Path.cwd()
root = next(p for p in (here, *here.parents) if (p / "docs/results/study_narrow").is_dir())
protocol = PROTOCOLS["narrow"]
records = planned(protocol, load(root / "docs/results/study_narrow"))
print(len(records), "runs")

# %% [markdown]
# Every algorithm had all of its hyperparameters searched by thirty trials, then five seeds. The
# mixtures on the 8 Gaussians; a number is bold where a paired test says that it is better than
# every other algorithm's.

# %%
table = quality_table(Stage(records, protocol, "gaussians8", "final"), "mixture")
print(table.markdown())

# %% [markdown]
# A claim is a list of comparisons. Each is *held*, *opposite* or *undecided*, by paired t tests at
# 5 % with Holm's correction over the claim's comparisons.

# %%
found = claims(records, protocol)
for claim in found:
    print(f"{claim.text} ({claim.source}), by {claim.measure}:\n    {claim.summary}\n")

# %% [markdown]
# One comparison in full:

# %%
verdict = found[0].verdicts[0]
print(verdict.dataset, "|", verdict.text, "|", verdict.outcome)

# %% [markdown]
# The whole report, with curves and pictures: [the study](../results/study_narrow/README.md). To run
# it again, or another protocol: [reproduction](../reproduction.md).
