# Buckets, a user for each component, and what each may do. Any number of times: what is there is brought up to date.
set -eu
quietly() { mc --quiet --no-color "$@"; }
# Keys go by standard input: a command line can be read in the table of processes.
pair() { printf '%s\n%s\n' "$1" "$2"; }

pair "$ROOT_USER" "$ROOT_PASSWORD" | quietly alias set store "$ENDPOINT" >/dev/null

for bucket in $BUCKETS; do
    quietly mb --ignore-existing "store/$bucket"
done

for component in $COMPONENTS; do
    user=$(cat "/keys/$component/access-key")
    quietly admin policy create store "segdepth-$component" "/buckets/$component.json"
    pair "$user" "$(cat "/keys/$component/secret-key")" | quietly admin user add store
    # Attached already is no fault.
    quietly admin policy attach store "segdepth-$component" --user "$user" >/dev/null 2>&1 ||
        quietly admin user info store "$user" | grep -q "segdepth-$component"
    echo "$component may do what its policy says"
done
