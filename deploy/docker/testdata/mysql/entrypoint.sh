# What the official image does first: an empty database gets its tables, the seed, and root's password.
set -eu
server=(mariadbd --no-defaults --datadir=/var/lib/mysql --socket=/var/run/mysqld/mysqld.sock --pid-file=/var/run/mysqld/mysqld.pid)
if [ ! -d /var/lib/mysql/mysql ]; then
  mariadb-install-db --no-defaults --datadir=/var/lib/mysql --auth-root-authentication-method=normal --skip-test-db >/dev/null
  "${server[@]}" --skip-networking &
  first=$!
  client=(mariadb --no-defaults --socket=/var/run/mysqld/mysqld.sock -uroot)
  until "${client[@]}" -e 'SELECT 1' >/dev/null 2>&1; do
    kill -0 "$first"
    sleep 0.1
  done
  for seed in /docker-entrypoint-initdb.d/*.sql; do "${client[@]}" <"$seed"; done
  "${client[@]}" -e "CREATE USER root@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD'; GRANT ALL ON *.* TO root@'%'; ALTER USER root@localhost IDENTIFIED BY '$MYSQL_ROOT_PASSWORD'; FLUSH PRIVILEGES"
  kill "$first"
  wait "$first"
fi
exec "${server[@]}" --bind-address=0.0.0.0
