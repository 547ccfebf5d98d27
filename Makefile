# Everything a newcomer needs: `make install` sets up .venv, and every other target does so by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MAX_JOBS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

NATIVE := setup.py pyproject.toml $(shell find csrc -type f)

.PHONY: install demo test test-kills test-long reliability lint format docs gallery quality agent bench test-cuda use-cuda bench-cuda wheel clean

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/captum-proto demo --out demo-output --overwrite

# As many processes as there are jobs, of one thread each: threads of several processes that spin would only be in each other's way.
test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(MAX_JOBS) --dist loadfile

# Every protocol killed at every one of its tasks, before and after it is recorded; `make test` kills each at one to three.
test-kills: $(VENV)/.installed-test
	CAPTUM_PROTO_EVERY_KILL=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/runs/test_every_protocol.py -k every_task

# What takes minutes: claims about networks that are trained for them, and CUDA kernels with threads that change places at any access.
test-long: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long -n $(MAX_JOBS) --dist loadfile -q --no-header --disable-warnings -r fEps > docs/results/long_tests.txt; \
	  status=$$?; tail -n 30 docs/results/long_tests.txt; exit $$status

# Faults injected on purpose, each with what was lost and what the user saw: docs/results/reliability.csv. Most of an hour.
reliability: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python tests/reliability/run.py $(FAMILIES)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format --dry-run -Werror

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format -i

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# The pictures of docs/gallery.rst: minutes.
gallery: $(VENV)/.installed
	$(BIN)/python docs/gallery.py

# docs/results/quality_pairs.*: the preset best on classes that were held out, made with each of three networks and shown to the others. About
# 95 minutes on two cores; IMAGES is a folder of photographs of ImageNet's classes.
quality: $(VENV)/.installed-test
	for m in 0 1 2; do \
	  $(BIN)/captum-proto quality --model efficientnet-lite$$m --held-out docs/sweeps/quality_held_out.txt --method best --seeds 0-2 \
	    $$(for o in 0 1 2; do test $$o = $$m || echo --verifier efficientnet-lite$$o; done) --controls gray noise --images $(IMAGES) \
	    --batch-size 25 --out quality-lite$$m --resume || exit 1; \
	done
	$(BIN)/captum-proto quality-pairs quality-lite0 quality-lite1 quality-lite2 --out quality-pairs --overwrite
	cp quality-pairs/quality.csv docs/results/quality_pairs.csv
	cp quality-pairs/quality.txt docs/results/quality_pairs.txt

# The agents that come with the package, trained anew and written to where they are read from: about four minutes of one core.
agent: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m captum_proto.testing.train_agents scroller
	OMP_NUM_THREADS=1 $(BIN)/python -m captum_proto.testing.train_agents lava

# One file per claim, each with its peers and its floor; results/*.json, and RESULTS.md from them.
bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/spearman.py
	$(BIN)/python benchmarks/spearman_lengths.py
	$(BIN)/python benchmarks/high_frequency_loss.py
	$(BIN)/python benchmarks/generation_step.py
	$(BIN)/python benchmarks/time_to_quality.py
	$(BIN)/python benchmarks/lucent_units.py
	$(BIN)/python benchmarks/class_evaluation.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/streams.py
	$(BIN)/python benchmarks/atlas.py
	$(BIN)/python benchmarks/concepts.py
	$(BIN)/python benchmarks/sanity.py
	$(BIN)/python benchmarks/circuits.py
	$(BIN)/python benchmarks/network_step.py
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/extremes.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/scheduler_check.py
	$(BIN)/python benchmarks/results.py

# torch comes first and by itself: the native modules are built against it, so its build may not be isolated from it.
$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "setuptools>=77" ninja "torch>=2.10" torchvision
	touch $@

$(VENV)/.installed: $(VENV)/.torch $(NATIVE)
	$(BIN)/pip install --quiet --no-build-isolation --editable ".[demo]"
	touch $@

# The package is there: what its extras need is added, and nothing is built again.
$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/pip install --quiet "captum_proto[test]"
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/pip install --quiet "captum_proto[bench]"
	touch $@

$(VENV)/.installed-wheel: $(VENV)/.installed
	$(BIN)/pip install --quiet "captum_proto[wheel]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/pip install --quiet "captum_proto[docs]"
	touch $@

# On a machine with a GPU, offline: the Python that is there ($(PYTHON), with torch, captum, scipy and pytest), not .venv. Ten minutes at
# most; each stage's result is in the folder as soon as it ends.
test-cuda:
	$(PYTHON) tests/cuda/self_test.py --out cuda-self-test

# Prototypes made and evaluated on a GPU: four minutes at most.
use-cuda:
	$(PYTHON) tests/cuda/use_test.py --out cuda-use-test

bench-cuda:
	CAPTUM_PROTO_BUILD=cuda $(PYTHON) setup.py build_ext --inplace
	$(PYTHON) benchmarks/cuda_timings.py
	$(PYTHON) benchmarks/generation_step.py --device cuda --autocast bfloat16
	$(PYTHON) benchmarks/class_evaluation.py --device cuda
	$(PYTHON) benchmarks/results.py

# One wheel for every Python from 3.10 on, into dist: built, looked into, and tried with another Python and the oldest PyTorch, which is
# downloaded once. WHEEL="--python python3.13 --torch torch==2.12.*" chooses which.
wheel: $(VENV)/.installed-wheel
	$(BIN)/python tests/check_wheel.py $(WHEEL)

clean:
	rm -rf $(VENV) build dist *.egg-info demo-output docs/_build captum_proto/*.so captum_proto/_left_out.json
