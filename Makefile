# Halftone's front door. `make help` lists what it does.
BUILD ?= build
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo)
PACKAGES := gcc meson ninja-build pkg-config libssl-dev libyaml-dev libpcre2-dev libutf8proc-dev \
            libjansson-dev zlib1g-dev libcurl4-openssl-dev libsqlite3-dev libcmocka-dev libpq-dev libhiredis-dev

.PHONY: all page demo test parity bench fuzz packages install clean help format lint

all: $(BUILD)/build.ninja ## build build/halftone and build/libhalftone.so
	@ninja -C $(BUILD) $(NINJAFLAGS)

# Sources are found by folder: configured anew when the list of files changes.
SOURCES := $(shell find src apps tests bench tools -name '*.c' -o -name meson.build -o -name '*.sh' | LC_ALL=C sort | cksum | cut -d' ' -f1)
$(BUILD)/build.ninja: $(BUILD)/.sources-$(SOURCES) $(BUILD)/.page
	@test -f $@ && meson setup --reconfigure $(BUILD) >/dev/null || meson setup $(BUILD) $(MESONFLAGS)
	@touch $@
$(BUILD)/.sources-$(SOURCES): | check-packages
	@mkdir -p $(BUILD) && rm -f $(BUILD)/.sources-* && touch $@
# What the web page needs is fetched once, where there is npm; without it the program gets a plain page.
$(BUILD)/.page: web/package-lock.json
	@mkdir -p $(BUILD)
	@tools/page_packages.sh
	@touch $@
page: ## fetch what the web page needs (npm), and build
	@rm -f $(BUILD)/.page
	@$(MAKE) --no-print-directory all

.PHONY: check-packages
check-packages:
	@missing=; for p in meson ninja pkg-config cc; do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	 for l in libcrypto yaml-0.1 libpcre2-8 libutf8proc jansson zlib libcurl sqlite3 cmocka; do \
	   pkg-config --exists $$l 2>/dev/null || missing="$$missing $$l"; done; \
	 if [ -n "$$missing" ]; then echo "missing:$$missing"; \
	   echo "Debian: $(SUDO) apt-get install $(PACKAGES)   (or: make packages)"; exit 1; fi

packages: ## install what building needs (Debian)
	@missing=; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	 if [ -n "$$missing" ]; then $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $$missing; fi

demo: packages ## install, build, and quantize the example model
	@$(MAKE) --no-print-directory all
	@rm -rf out/demo
	$(BUILD)/halftone quantize examples/model -t Q4_K_M,Q5_K_M,Q8_0 -o out/demo
	@echo "Next: $(BUILD)/halftone serve --models examples   and http://127.0.0.1:8700/ in a browser"

# The browser that the page is tested in, PostgreSQL and the formatter: not needed to build, and missed aloud by the tests.
.PHONY: test-packages
test-packages: packages
	@dpkg -s clang-format >/dev/null 2>&1 || $(SUDO) apt-get install -y -qq clang-format >/dev/null 2>&1 || echo "no clang-format: the format is not checked"
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || $(SUDO) apt-get install -y -qq postgresql >/dev/null 2>&1 || echo "no PostgreSQL: the store is tested on SQLite alone"
	@command -v redis-server >/dev/null || $(SUDO) apt-get install -y -qq redis-server >/dev/null 2>&1 || echo "no Redis: the doorbell is not tested"
	@command -v chromium >/dev/null || $(SUDO) apt-get install -y -qq chromium >/dev/null 2>&1 || echo "no Chromium: the page is not tested"

test: test-packages ## install, build, and pass every test
	@$(MAKE) --no-print-directory all
	@tools/run_tests.sh $(BUILD)

parity: all ## compare with the programs that people use (installs them once)
	@tests/parity/run.sh $(BUILD)

bench: all ## times, side by side with llama.cpp, in less than ten minutes (and as JSON in build/bench/)
	@ninja -C $(BUILD) $(NINJAFLAGS) bench/bench_read >/dev/null
	@$(BUILD)/bench/bench_read --json $(BUILD)/bench/read.json
	@bench/run.sh $(BUILD) --json $(BUILD)/bench/encode.json

# Without these a part of the long tests is skipped, which it says.
.PHONY: nightly-packages
nightly-packages: test-packages ## install what the long tests need beside that: clang with its sanitizers, gcc for 32 bits, qemu
	@for p in clang libclang-rt-dev gcc-multilib qemu-user; do dpkg -s $$p >/dev/null 2>&1 || $(SUDO) apt-get install -y -qq $$p >/dev/null 2>&1 \
	   || echo "no $$p: what needs it is skipped"; done

# What takes too long for every change, a line a part (tools/nightly.sh).
.PHONY: nightly
nightly: nightly-packages all ## the long tests, for hours: crashes, a soak, fuzzers, races, sanitizers, 32 bits, ARM (or PARTS="tsan 32bit" alone)
	@ninja -C $(BUILD) $(NINJAFLAGS) meson-test-prereq
	@tools/nightly.sh $(BUILD) $(PARTS)

fuzz: ## run every fuzzer for a minute (clang)
	@tests/fuzz/run.sh

.PHONY: coverage
coverage: check-packages ## how much of the parsers their tests run through, a line a file (gcc)
	@tools/coverage.py

.PHONY: dist
dist: all ## the release archive: unpack it anywhere and run it
	@tools/dist.sh $(BUILD)

.PHONY: wheel
wheel: all ## the Python package, with the library inside: pip install dist/halftone-*.whl
	@tools/wheel.sh $(BUILD)

install: all ## install to the prefix that meson was given
	@meson install -C $(BUILD)

# Lists of macros settle only after several passes.
format: ## format the sources (clang-format 14)
	@for pass in 1 2 3 4; do git ls-files -z '*.c' '*.h' | xargs -0 clang-format -i || exit 1; done

lint: ## floors, exports, format
	@tools/check_floors.sh && tools/check_exports.sh $(BUILD) && tools/check_format.sh

clean: ## remove what was built
	@rm -rf $(BUILD) out

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12
