# gradwatch: `make help` lists the targets. All downloads stay in this checkout; no target needs root.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
CUDA ?=
CONFIG ?= configs/fashion-mnist-resnet8.toml
INSPECTION ?= configs/inspection-mobilenet_v2.toml
LOGDIR ?= logs
PORT ?= 6006

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Download libtorch, TensorBoard, Fashion-MNIST, and NVRTC (CUDA=1: libtorch with CUDA; automatic with an NVIDIA driver)
	@setup/setup.sh libtorch $(if $(CUDA),cuda)
	@setup/setup.sh tensorboard
	@setup/setup.sh fashion-mnist
	@setup/setup.sh nvrtc

.PHONY: setup-data
setup-data: ## Download Fashion-MNIST only
	@setup/setup.sh fashion-mnist

.PHONY: setup-mnist
setup-mnist: ## Download MNIST into data/mnist
	@setup/setup.sh mnist

.PHONY: setup-weights
setup-weights: ## Download MobileNetV2 with torchvision's ImageNet weights into models/
	@setup/setup.sh weights

.PHONY: setup-photos
setup-photos: setup-weights ## Download twenty ImageNet photos and the ImageNet weights
	@setup/setup.sh photos

.PHONY: setup-inspection
setup-inspection: setup-weights ## Download solar cell images (ELPV, 91 MB, non-commercial use only) and MobileNetV2
	@setup/setup.sh elpv

.PHONY: build
build: setup-libtorch ## Build target/release/gradwatch
	@cargo build --release --locked

.PHONY: doctor
doctor: ## Build target/release/gradwatch-doctor, which needs neither libtorch nor Python
	@cargo build --release --locked --package gradwatch-doctor

.PHONY: setup-libtorch
setup-libtorch:
	@setup/setup.sh libtorch $(if $(CUDA),cuda)

.PHONY: demo
demo: setup-libtorch setup-data build ## Train ResNet-8 on Fashion-MNIST and report gradient problems
	@setup/setup.sh tensorboard
	@target/release/gradwatch train $(CONFIG)

.PHONY: demo-inspection
demo-inspection: setup-libtorch setup-inspection build ## Detect defective solar cells with MobileNetV2, from ImageNet weights and from random weights
	@target/release/gradwatch train $(INSPECTION) --run-name inspection-random --resume auto $(ARGS)
	@target/release/gradwatch train $(INSPECTION) --run-name inspection-pretrained --resume auto \
	    --set model.weights=models/mobilenet_v2-b0353104.pth $(ARGS)
	@target/release/gradwatch evaluate logs/inspection-random
	@target/release/gradwatch evaluate logs/inspection-pretrained

.PHONY: tensorboard
tensorboard: ## Show all runs in TensorBoard (PORT=6006)
	@setup/setup.sh tensorboard
	@.deps/tensorboard/bin/tensorboard --logdir $(LOGDIR) --port $(PORT)

.PHONY: test
test: setup setup-photos ## Run all tests
	@cargo test --locked --workspace
	@$(MAKE) --no-print-directory test-cuda

.PHONY: soak
soak: setup ## Kill runs at 200 random places (KILLS=200), resume them, and compare the results bit for bit
	@GRADWATCH_SOAK=$(or $(KILLS),200) GRADWATCH_SEED=$$(date +%s) cargo test --locked --test program -- --nocapture crash::

.PHONY: test-peers
test-peers: setup setup-photos ## Run the tests that need PyTorch: exchange weights and exports with torchvision and timm
	@setup/setup.sh peers
	@cargo test --locked --lib --test library --test program -- --ignored --nocapture --skip report_browser::

.PHONY: test-browser
test-browser: setup-libtorch ## Render a report in Chromium: narrow and wide, light and dark (CHROMIUM=chromium)
	@CHROMIUM=$(or $(CHROMIUM),chromium) cargo test --locked --test library -- --ignored --nocapture report_browser::

.PHONY: test-cuda
test-cuda: setup ## Run the GPU tests on cuda:0, or on a simulated GPU without an NVIDIA driver
	@if nvidia-smi >/dev/null 2>&1; then cargo test --locked --test cuda -- --ignored --test-threads=1; \
	else tests/simcuda/test.sh; fi

.PHONY: lint
lint: setup-libtorch ## Check formatting, clippy, and rustdoc; deny warnings
	@cargo fmt --check
	@cargo clippy --locked --workspace --all-targets -- --deny warnings
	@cargo clippy --locked --package gradwatch-doctor --no-default-features -- --deny warnings
	@RUSTDOCFLAGS="--deny warnings" cargo doc --locked --workspace --no-deps --document-private-items

.PHONY: bench
bench: setup ## Benchmark the event writer and reader, the loader, checkpoints, clipping, and the overhead of monitoring
	@cargo bench --locked --bench events --bench replay --bench checkpoint --bench loader --bench clipping --bench telemetry

.PHONY: bench-distributed
bench-distributed: setup-libtorch ## Compare steps of one process and of two ranks on the CPU, and with PyTorch's DDP (TURNS=5 STEPS=20)
	@setup/setup.sh peers
	@mkdir -p target
	@.deps/peers/bin/python benches/peers/ddp.py --json target/ddp-peers.jsonl
	@PEERS=target/ddp-peers.jsonl cargo bench --locked --bench distributed

.PHONY: bench-cuda
bench-cuda: ## Compare training steps on an NVIDIA GPU, plain and monitored, with PyTorch (MODEL=resnet50 BATCH=64 SIZE=224 TURNS=5)
	@nvidia-smi >/dev/null 2>&1 || { echo "bench-cuda: nvidia-smi found no NVIDIA GPU; run this target on a machine with an NVIDIA driver" >&2; exit 1; }
	@setup/setup.sh libtorch cuda
	@setup/setup.sh peers
	@mkdir -p target
	@nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
	@.deps/peers/bin/python benches/peers/gpu.py --json target/cuda-peers.jsonl
	@PEERS=target/cuda-peers.jsonl cargo bench --locked --bench cuda

.PHONY: bench-diagnosis
bench-diagnosis: setup-libtorch setup-data setup-weights ## Score the rules on faulty and healthy runs, which take four hours; reuses those in target/diagnosis-traces
	@setup/setup.sh peers
	@.deps/peers/bin/python benches/diagnosis/torchscript.py target/diagnosis-traces/nets
	@cargo bench --locked --bench diagnosis
	@cargo bench --locked --package gradwatch-doctor --bench scores

.PHONY: bench-remedies
bench-remedies: bench-diagnosis ## Repeat the faulty runs with recommended and with random changes, and count those that train
	@GRID=remedies cargo bench --locked --bench diagnosis
	@GRID=families cargo bench --locked --package gradwatch-doctor --bench scores

.PHONY: bench-repair
bench-repair: setup-libtorch setup-data ## Let faulty runs repair themselves, beside random changes and AutoTrainer's order; keeps the runs in target/diagnosis-traces
	@GRID=repairs cargo bench --locked --bench diagnosis

.PHONY: bench-logistic
bench-logistic: setup-libtorch setup-data ## Train networks of 10 and 15 sigmoid layers with five initializations; keeps the runs in target/logistic
	@cargo bench --locked --bench logistic

STUDIES := $(basename $(notdir $(wildcard configs/studies/*.toml)))

.PHONY: studies
studies: build setup-data setup-mnist ## Train the studies in configs/studies, about two hours, and copy their charts to docs/studies; resumes
	@for study in $(STUDIES); do \
	    target/release/gradwatch study configs/studies/$$study.toml --yes || exit; \
	    mkdir -p docs/studies/$$study || exit; \
	    cp logs/$$study/results.csv logs/$$study/charts/*.svg logs/$$study/charts/*.csv docs/studies/$$study || exit; \
	done

.PHONY: bench-peers
bench-peers: build setup-data ## Compare the demo, clipping, checkpoints, the loader, and monitoring with PyTorch and timm on this machine (TURNS=5)
	@setup/setup.sh peers
	@TURNS=$(TURNS) STEPS=$(STEPS) .deps/peers/bin/python benches/peers/fashion_mnist.py
	@TURNS=$(TURNS) .deps/peers/bin/python benches/peers/clipping.py --json target/clipping-peers.jsonl
	@TURNS=$(TURNS) PEERS=$(CURDIR)/target/clipping-peers.jsonl cargo bench --locked --bench clipping
	@rm -f target/checkpoint-peers.jsonl
	@TURNS=$(TURNS) .deps/peers/bin/python benches/peers/checkpoint.py --json target/checkpoint-peers.jsonl
	@TURNS=$(TURNS) PEERS=$(CURDIR)/target/checkpoint-peers.jsonl cargo bench --locked --bench checkpoint
	@setup/setup.sh photos
	@TURNS=$(TURNS) .deps/peers/bin/python benches/peers/loader.py --images target/jpegs --json target/loader-peers.jsonl
	@TURNS=$(TURNS) .deps/peers/bin/python benches/peers/many_files.py --folder target/many --json target/many-peer.jsonl
	@TURNS=$(TURNS) IMAGES=$(CURDIR)/target/jpegs PEERS=$(CURDIR)/target/loader-peers.jsonl \
	    MANY=$(CURDIR)/target/many MANY_PEER=$(CURDIR)/target/many-peer.jsonl cargo bench --locked --bench loader
	@STEPS= TURNS=$(TURNS) .deps/peers/bin/python benches/peers/telemetry.py --json target/telemetry-peers.jsonl
	@STEPS= TURNS=$(TURNS) PEERS=target/telemetry-peers.jsonl cargo bench --locked --bench telemetry

.PHONY: clean
clean: ## Remove build outputs (to remove downloads: rm -rf .deps data)
	@cargo clean
