# Two targets for people: `make demo` and `make test`. Both share one environment and one wheel of
# llama-cpp-python, which is built from source once (about five minutes on two cores).
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
WHEELS := $(VENV)/wheels
LLAMA := llama-cpp-python==0.3.36

.PHONY: demo test test-fast check docs lint fuzz clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(PY) -m exporter demo

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	touch $@

# torch first: it decides which builds of the rest fit.
$(VENV)/.torch: $(VENV)/.python constraints.txt
	@echo "installing torch (the largest download)"
	$(PIP) install --quiet -c constraints.txt torch
	touch $@

$(VENV)/.llama: $(VENV)/.python
	@echo "building llama-cpp-python once, about five minutes on two cores; kept in $(WHEELS)"
	mkdir -p $(WHEELS)
	ls $(WHEELS)/llama_cpp_python-*.whl >/dev/null 2>&1 || \
		$(PIP) wheel --quiet --no-deps --wheel-dir $(WHEELS) $(LLAMA)
	touch $@

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.torch $(VENV)/.llama
	@echo "installing the exporters and the tools of the tests"
	$(PIP) install --quiet --find-links $(WHEELS) -c constraints.txt -e '.[dev]'
	touch $@

# LiteRT's converter pins typing-extensions, optimum pins transformers below what EmbeddingGemma 2
# needs: a second environment, which the tests call.
$(VENV)-second/.installed: pyproject.toml constraints.txt
	@echo "installing LiteRT's converter and transformers 5 into $(VENV)-second"
	$(PYTHON) -m venv $(VENV)-second
	$(VENV)-second/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-second/bin/python -m pip install --quiet -c constraints.txt torch
	$(VENV)-second/bin/python -m pip install --quiet -c constraints.txt -e '.[litert-export,embeddinggemma2,onnx,openvino]'
	touch $@

test: $(VENV)/.installed $(VENV)-second/.installed
	LAWVAULT_SECOND_PYTHON=$(CURDIR)/$(VENV)-second/bin/python $(PY) -m pytest -m 'slow or not slow'

test-fast: $(VENV)/.installed
	$(PY) -m pytest

# What needs no torch, under two minutes on two cores: for every commit.
check: lint
	$(PY) -m pytest -m 'not slow' parity_tests/unit/test_structure.py parity_tests/unit/test_docs.py \
		parity_tests/unit/test_recipe.py parity_tests/unit/test_read_checkpoint.py \
		parity_tests/unit/test_statistics.py parity_tests/unit/test_judge.py \
		parity_tests/unit/test_errors.py parity_tests/unit/test_corpus.py parity_tests/unit/test_questions.py

docs: $(VENV)/.installed
	$(PIP) install --quiet 'mkdocs-material>=9.5'
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/typos

# Every reader of files from anyone, led by coverage; a crash leaves its file here.
FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.installed
	$(PIP) install --quiet atheris
	for name in $$($(PY) -c 'from parity_tests.fuzz.test_readers import NAMES; print(*NAMES)'); do \
		$(PY) -m parity_tests.fuzz.fuzz_readers $$name -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

clean:
	rm -rf $(VENV) $(VENV)-second
