# make demo: the main job on made-up animals · make test: the tests. Each sets up what it needs first.
.PHONY: demo app test check bench claims torture shots real setup

PYTHON ?= python3
export PYTHON
# Where nothing compiled is kept, as in many containers, each process compiles torch anew: 10 s.
unexport PYTHONDONTWRITEBYTECODE
# Holds mouse_brain_mri/ and mouse_head_microct/, which are not part of the repository.
DATA ?= ../shared/data
INPUTS ?= 20000
SEED ?= 1
STEPS ?= 0
SETUP := tools/setup.sh constraints.txt pyproject.toml

demo: .venv/.ready-demo  ## teacher, review, student and report, in medaka-demo/
	.venv/bin/medaka-kd demo

app: .venv/.ready-app  ## napari with the dock open
	.venv/bin/napari --with napari-medaka-kd "Medaka KD"

test: .venv/.ready-dev  ## all tests
	tools/test.sh

check: .venv/.ready-dev  ## style, types, layers, architecture
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo --no-cache
	.venv/bin/python -m pytest -q tests/test_architecture.py

bench: .venv/.ready-dev  ## the demo with three seeds, the window, opening, converting, segmenting, training, patches; two hours on two cores
	.venv/bin/python benchmarks/demo_seeds.py --seeds 0 1 2
	tools/screen.sh .venv/bin/python benchmarks/stalls.py
	tools/screen.sh .venv/bin/python benchmarks/reviewing.py
	tools/screen.sh .venv/bin/python benchmarks/soak.py
	.venv/bin/python benchmarks/opening.py
	.venv/bin/python benchmarks/converting.py
	.venv/bin/python benchmarks/inference.py --folder medaka-bench
	.venv/bin/python benchmarks/inference.py --folder medaka-bench --scene fish
	.venv/bin/python benchmarks/forecast.py --rounds 3
	.venv/bin/python benchmarks/verdicts.py --verdicts 1000000
	.venv/bin/python benchmarks/training_cost.py
	.venv/bin/python benchmarks/patches.py --arms ours zarr-python "MONAI PersistentDataset" "MONAI CacheDataset"

# Strategy and data set of each claim, with its seeds.
CLAIMS := self_training/phantom/10 self_training/phantom-same/10 self_training/hippocampi/10 self_training/brains-longer/5 \
	self_training/phantom-spoiled/5 self_training/phantom-elsewhere/5 \
	shape_intensity/hippocampi/10 shape_intensity/phantom/5 shape_intensity/phantom-longer/5 \
	mutual/phantom/5 mutual/phantom-fewer/5 mutual/phantom-more/5 mutual/hippocampi/5 \
	reconstruction/brains-longer/5 reconstruction/heads/1 reconstruction/phantom/2 \
	mean_teacher/hippocampi/5 mean_teacher/hippocampi-elsewhere/5 mean_teacher/phantom/5 mean_teacher/phantom-elsewhere/10

# So many, or one in a rehearsal.
seeds = $(if $(filter 0,$(STEPS)),$(1),1)

claims: .venv/.ready-dev  ## every strategy against its controls; make claims DATA=FOLDER; more than a day on two cores; rehearsed with STEPS=2
	for claim in $(CLAIMS); do .venv/bin/python benchmarks/claims.py --source $(DATA) --steps $(STEPS) \
		--strategy $$(echo $$claim | cut -d/ -f1) --data $$(echo $$claim | cut -d/ -f2) \
		--seeds $(call seeds,$$(echo $$claim | cut -d/ -f3)) || exit 1; done
	.venv/bin/python benchmarks/claims_instances.py --source $(DATA) --steps $(STEPS) --strategy instances --data nuclei --seeds $(call seeds,5)
	.venv/bin/python benchmarks/claims_labels.py --source $(DATA) --steps $(STEPS) --seeds $(call seeds,5)

torture: .venv/.ready-dev  ## spoiled volumes by the thousand through every reader, 1220 kills, a soak; make torture INPUTS=20000 SEED=1
	.venv/bin/python tests/volumes/hostile --inputs $(INPUTS) --seed $(SEED)
	.venv/bin/python -m pytest -q -m compiler tests/networks
	.venv/bin/python benchmarks/kills.py --kills 200 --worker-kills 20
	.venv/bin/python benchmarks/soak_segment.py --volumes 200
	.venv/bin/python benchmarks/verdict_kills.py --kills 1000 --writers 16 --verdicts 5000

shots: .venv/.ready-dev  ## the pictures of docs/img, from the running program
	tools/screen.sh .venv/bin/python tools/shots.py

real: .venv/.ready-demo  ## the main job on real scans; make real DATA=FOLDER
	.venv/bin/python benchmarks/real.py --data $(DATA)

setup: .venv/.ready-dev  ## everything a developer needs, in .venv

.venv/.ready-%: $(SETUP)
	tools/setup.sh $*
