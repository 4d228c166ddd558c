# Two commands are all the set-up:
#   make demo   creates .venv, installs the tested versions, and sings the bundled song in a bundled voice
#   make test   runs every test in the same environment
# Choices, given after the target:
#   PYTHON=python3.12    the interpreter (3.11 to 3.13); by default the first that is found and fits
#   TORCH_ARGS="..."     more arguments for the line that installs torch, to choose a CPU or a GPU build
#                        (docs/install.md)

VENV := .venv
TORCH_ARGS ?=

fits = $(shell $(1) -c 'import sys; print((3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null)
found = $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(if $(filter True,$(call fits,$(p))),$(p))))
PYTHON ?= $(or $(found),python3)

python := $(VENV)/bin/python
torch := torch==$(shell sed -n 's/^torch==//p' constraints.txt)

.PHONY: demo test check install clean

demo: install
	$(VENV)/bin/resing demo -o demo_out

test: install
	$(python) -m pytest

check: install
	PYTHON=$(python) scripts/check

install: $(VENV)/.installed

# torch comes first and alone, so that the build chosen for it stays: nothing after it can ask for another.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.created
	$(python) -m pip install $(TORCH_ARGS) "$(torch)"
	$(python) -m pip install -c constraints.txt -e ".[dev]"
	touch $@

# Where the system's Python comes without ensurepip, its own pip fills the environment.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] < (3, 14) else \
	    "Resing needs Python 3.11, 3.12 or 3.13, got " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) \
	    && $(PYTHON) -m pip --python $(python) install pip; }
	touch $@

clean:
	rm -rf $(VENV) demo_out
