#!/bin/sh
# The servers that the tests use besides what pip can install: OpenSSH's for the sandbox's machines, and PostgreSQL.
# They are installed where that is ours to do: as root, on Debian and its like. Elsewhere the machines are asyncssh
# processes, and the tests that need PostgreSQL say that they are skipped. Nothing is started, now or at boot.
set -eu

have_sshd() { [ -x /usr/sbin/sshd ] || command -v sshd >/dev/null; }
have_postgres() { ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; }
install() { DEBCONF_NOWARNINGS=yes DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 install --no-install-recommends "$@" >/dev/null; }

if have_sshd && have_postgres; then exit 0; fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then exit 0; fi

start=/usr/sbin/policy-rc.d  # what packages ask before they start what they install
if [ ! -e $start ]; then
  printf '#!/bin/sh\nexit 101\n' >$start && chmod +x $start
  trap 'rm -f $start' EXIT
fi
apt-get -qq -o DPkg::Lock::Timeout=600 update >/dev/null || echo "apt-get update failed; trying with the lists there are"
if ! have_postgres; then
  echo "installing PostgreSQL for the tests"
  install postgresql-common && mkdir -p /etc/postgresql-common/createcluster.d
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/tests.conf
  install postgresql || echo "PostgreSQL cannot be installed"
fi
if ! have_sshd; then
  echo "installing OpenSSH's server for the sandbox's machines"
  install openssh-server || echo "sshd cannot be installed: the sandbox's machines will be asyncssh processes"
  if command -v systemctl >/dev/null; then systemctl --quiet disable ssh.service ssh.socket 2>/dev/null || true; fi
fi
