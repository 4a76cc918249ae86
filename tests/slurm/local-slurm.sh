#!/usr/bin/env bash
# A throw-away Slurm of one node on this machine, for Debian 12, as root.
#
#   local-slurm.sh up DIR [CPUS [GPUS]]   install what is missing, start, wait until jobs run
#   local-slurm.sh down DIR               cancel all jobs, stop what `up` started
#
# `. DIR/env.sh` puts its sbatch, squeue, ... on PATH. The node claims CPUS (default 2) and
# GPUS (default 1) whether or not they exist. Nothing is written outside DIR, and there is no
# accounting: a finished job stays visible in squeue for an hour. Exit code 77: not root, or the
# packages cannot be installed.
set -euo pipefail

die() {
    echo "local-slurm: $*" >&2
    exit "${code:-1}"
}

patiently() { # SECONDS COMMAND...: repeat until it succeeds
    local end=$((SECONDS + $1))
    until "${@:2}" &>/dev/null; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

# The real path lets start-stop-daemon tell its daemon from another process of the same PID;
# the plain name is what Slurm's daemons recognise themselves by.
daemon() { # --start|--stop DAEMON OPTION...
    start-stop-daemon "$1" --quiet --oknodo --pidfile "$DIR/$2.pid" \
        --exec "$(realpath "/usr/sbin/$2")" --startas "/usr/sbin/$2" "${@:3}"
}

start() { # DAEMON ARGUMENT...
    daemon --start "$1" --background --make-pidfile --output "$DIR/log/$1.out" -- "${@:2}"
}

stop() { # DAEMON
    [[ ! -e $DIR/$1.pid ]] || daemon --stop "$1" --retry 10 --remove-pidfile
}

install_packages() {
    local packages=(munge slurm-client slurmctld slurmd)
    type -P munged slurmctld slurmd sbatch >/dev/null && return
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
    # Package lists may be missing or stale: they are fetched only where that shows.
    "${apt[@]}" install --no-install-recommends "${packages[@]}" &>"$DIR/log/apt.out" ||
        { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${packages[@]}"; } \
            &>>"$DIR/log/apt.out" ||
        code=77 die "cannot install ${packages[*]}: $(tail -n 3 "$DIR/log/apt.out")"
}

configure() { # CPUS GPUS
    local host port=$((20000 + RANDOM % 5000 * 2)) loopback='' i
    host=$(hostname -s)
    # Slurm can keep to the loopback interface only where the host's name leads there.
    [[ $(getent ahostsv4 "$host") != 127.* ]] ||
        loopback=CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
    cat >"$DIR/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
$loopback
AuthInfo=socket=$DIR/munge.socket
SlurmUser=root
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldPidFile=$DIR/slurmctld.own.pid
SlurmdPidFile=$DIR/slurmd.own.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.log
MailProg=/bin/true
# Neither cgroups nor systemd; the claims below may exceed the hardware.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
GresTypes=gpu
SchedulerParameters=bf_interval=3,sched_interval=3,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
MinJobAge=3600
KillWait=3
NodeName=$host NodeAddr=127.0.0.1 CPUs=$1 RealMemory=100000 Gres=gpu:fake:$2
PartitionName=main Nodes=ALL Default=YES MaxTime=1-00:00:00
CONF
    # Only a GPU with a device file of its own makes Slurm set CUDA_VISIBLE_DEVICES.
    for ((i = 0; i < $2; i++)); do
        ln -s /dev/null "$DIR/gpu$i"
        echo "Name=gpu Type=fake File=$DIR/gpu$i" >>"$DIR/gres.conf"
    done
    # Snakemake's job step unsets SLURM_CONF, so the commands themselves must know it.
    for i in sacct sacctmgr sbatch scancel scontrol sinfo squeue srun sshare; do
        printf '#!/bin/sh\nSLURM_CONF=%s exec /usr/bin/%s "$@"\n' "$DIR/slurm.conf" "$i" >"$DIR/bin/$i"
        chmod +x "$DIR/bin/$i"
    done
    echo "export PATH=$DIR/bin:\$PATH" >"$DIR/env.sh"
    (umask 077 && head -c 128 /dev/urandom >"$DIR/munge.key")
}

up() {
    [[ $(id -u) == 0 ]] || code=77 die "must be root"
    # slurm.conf cannot quote, and the path of a socket is short.
    [[ $DIR =~ ^[A-Za-z0-9_./+-]{1,80}$ ]] || die "DIR must be plain and short, got $DIR"
    [[ ! -e $DIR/slurm.conf ]] || die "$DIR was used before"
    mkdir -p "$DIR"/{bin,log,state,spool}
    install_packages
    configure "$@"
    start munged --foreground --force --key-file="$DIR/munge.key" --socket="$DIR/munge.socket" \
        --pid-file="$DIR/munged.own.pid" --log-file="$DIR/log/munged.log" --seed-file="$DIR/state/seed"
    patiently 10 munge --socket="$DIR/munge.socket" --no-input || failed
    start slurmctld -D -f "$DIR/slurm.conf"
    start slurmd -D -f "$DIR/slurm.conf"
    patiently 30 "$DIR/bin/srun" --quiet --immediate=5 --gpus=1 true || failed
}

failed() {
    tail -n 5 "$DIR"/log/*.out >&2
    down
    die "no job runs after 30 s; the logs are in $DIR/log"
}

down() {
    if [[ -e $DIR/slurmctld.pid ]]; then
        timeout 10 "$DIR/bin/scancel" --user=root || true
        patiently 15 no_jobs || true
    fi
    stop slurmd
    stop slurmctld
    stop munged
}

no_jobs() { [[ -z $("$DIR/bin/squeue" --noheader) ]]; }

(($# >= 2)) || die "usage: $0 up DIR [CPUS [GPUS]] | down DIR"
DIR=$(realpath -m -- "$2")
case $1 in
    up) up "${3:-2}" "${4:-1}" ;;
    down) down ;;
    *) die "usage: $0 up DIR [CPUS [GPUS]] | down DIR" ;;
esac
