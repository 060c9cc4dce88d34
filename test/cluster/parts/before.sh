# The version before this one: what upgrades start from, and what a rollback goes back to.

before=84254c9

# a clone without its history cannot make it
before_known() { git -C "$repository" cat-file -e "$before^{commit}" 2>/dev/null; }

# before_tree FOLDER: its files, out of this repository's history
before_tree() {
  git -C "$repository" archive "$before" -- Dockerfile .dockerignore package.json package-lock.json tools src manifests |
    tar -x -C "$1" || fail "the version before this one is commit $before, and this clone does not have it"
}
