package database

import (
	"bytes"
	"database/sql"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/ratings"
)

// mysqlDSN names a server to use in place of one that the test starts: user:password@tcp(host:port)/. Its database test
// is dropped.
const mysqlDSN = "BOOKINFO_TEST_MYSQL_DSN"

// startMariaDB returns how to reach a server of its own, and a connection that may do anything.
func startMariaDB(t *testing.T) (MySQLConfig, *sql.DB) {
	t.Helper()
	dsn := os.Getenv(mysqlDSN)
	if dsn == "" {
		dsn = runMariaDB(t)
	}
	parsed, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatalf("%s: %v", mysqlDSN, err)
	}
	host, port, err := net.SplitHostPort(parsed.Addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	root, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err = root.PingContext(t.Context()); err == nil {
			break
		}
		if time.Since(start) > 60*time.Second {
			t.Fatalf("the server does not answer: %v", err)
		}
	}
	return MySQLConfig{Host: host, Port: number, User: parsed.User, Password: parsed.Passwd, TLS: "false"}, root
}

// runMariaDB starts a server in a folder of the test and returns its DSN.
func runMariaDB(t *testing.T) string {
	t.Helper()
	daemon := need.Tool(t, "mariadb")
	install, err := exec.LookPath("mariadb-install-db")
	if err != nil {
		need.Missing(t, "mariadb", "mariadb-install-db is not on the PATH")
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	var log bytes.Buffer
	create := exec.CommandContext(t.Context(), install, "--no-defaults", "--auth-root-authentication-method=normal",
		"--skip-test-db", "--datadir="+data)
	create.Stdout, create.Stderr = &log, &log
	if err := create.Run(); err != nil {
		t.Fatalf("mariadb-install-db: %v\n%s", err, &log)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	listener.Close()

	args := []string{"--no-defaults", "--datadir=" + data, "--socket=" + filepath.Join(dir, "s"), "--bind-address=127.0.0.1",
		"--port=" + port, "--pid-file=" + filepath.Join(dir, "pid"), "--skip-log-bin", "--innodb-buffer-pool-size=8M"}
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	server := exec.CommandContext(t.Context(), daemon, args...)
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait() // killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return "root@tcp(127.0.0.1:" + port + ")/"
}

func TestContract59_MySQL(t *testing.T) {
	cfg, root := startMariaDB(t)
	do := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if _, err := root.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	do("DROP DATABASE IF EXISTS test", "CREATE DATABASE test")

	s := ratings.New(ratings.Config{Version: "v2", Database: NewMySQL(cfg)})
	defer s.Close()
	check := func(name string, wantStatus int, want string) {
		t.Helper()
		start := time.Now()
		if status, body := ask(t, s, "GET", "/ratings/0"); status != wantStatus || body != want {
			t.Errorf("%s: got %d %s, want %d %s", name, status, body, wantStatus, want)
		}
		if took := time.Since(start); took > 2500*time.Millisecond {
			t.Errorf("%s: took %v, longer than reviews v3 waits", name, took)
		}
	}
	check("no table", 500, `{"error":"could not perform select"}`)
	do("CREATE TABLE test.ratings (ReviewID INT NOT NULL PRIMARY KEY, Rating INT)")
	check("empty", 200, `{"id":0,"ratings":{"Reviewer1":0,"Reviewer2":0}}`)
	do("INSERT INTO test.ratings VALUES (1, 5), (2, 4)")
	check("seeded", 200, `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)
	do("UPDATE test.ratings SET Rating = 1")
	check("set", 200, `{"id":0,"ratings":{"Reviewer1":1,"Reviewer2":1}}`)
	do("UPDATE test.ratings SET Rating = NULL WHERE ReviewID = 2")
	check("null", 200, `{"id":0,"ratings":{"Reviewer1":1,"Reviewer2":null}}`)
	do("INSERT INTO test.ratings VALUES (3, 3)")
	check("a third", 200, `{"id":0,"ratings":{"Reviewer1":1,"Reviewer2":null}}`)

	const down = `{"error":"could not connect to ratings database"}`
	do("DROP DATABASE test")
	s2 := ratings.New(ratings.Config{Version: "v2", Database: NewMySQL(cfg)})
	defer s2.Close()
	if status, body := ask(t, s2, "GET", "/ratings/0"); status != 500 || body != down {
		t.Errorf("no database: got %d %s", status, body)
	}
	wrong := cfg
	wrong.User, wrong.Password = "nobody", "wrong"
	s3 := ratings.New(ratings.Config{Version: "v2", Database: NewMySQL(wrong)})
	defer s3.Close()
	if status, body := ask(t, s3, "GET", "/ratings/0"); status != 500 || body != down {
		t.Errorf("wrong password: got %d %s", status, body)
	}
}

// The original opens a connection for each request.
func TestMySQLConnectionsArePooled(t *testing.T) {
	cfg, root := startMariaDB(t)
	s := ratings.New(ratings.Config{Version: "v2", Database: NewMySQL(cfg)})
	defer s.Close()
	count := func() (n int) {
		t.Helper()
		var name string
		if err := root.QueryRowContext(t.Context(), "SHOW GLOBAL STATUS LIKE 'Connections'").Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, statement := range []string{"DROP DATABASE IF EXISTS test", "CREATE DATABASE test", "CREATE TABLE test.ratings (Rating INT)"} {
		if _, err := root.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	before := count()
	for range 20 {
		if status, body := ask(t, s, "GET", "/ratings/0"); status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
	}
	if opened := count() - before; opened > 1 {
		t.Errorf("20 requests opened %d connections", opened)
	}
}

func TestDatabasesThatDoNotAnswer(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hole.Close() }) // until then the kernel accepts connections and nobody answers
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close() // nobody listens there any more
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	mongo := func(l net.Listener) *MongoDB {
		return NewMongoDB("mongodb://127.0.0.1:" + strconv.Itoa(port(l)) + "/test")
	}

	for name, database := range map[string]ratings.Database{
		"MySQL, silent":         NewMySQL(MySQLConfig{Host: "127.0.0.1", Port: port(hole), TLS: "false"}),
		"MySQL, refused":        NewMySQL(MySQLConfig{Host: "127.0.0.1", Port: port(free), TLS: "false"}),
		"MySQL, wrong TLS":      NewMySQL(MySQLConfig{Host: "127.0.0.1", Port: port(free), TLS: "no-such-configuration"}),
		"MongoDB, silent":       mongo(hole),
		"MongoDB, refused":      mongo(free),
		"MongoDB, not set":      NewMongoDB(""),
		"MongoDB, unusable URL": NewMongoDB("mongodb://"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ratings.New(ratings.Config{Version: "v2", Database: database})
			defer s.Close()
			start := time.Now()
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/ratings/0", nil))
			if got := strings.TrimSpace(rec.Body.String()); rec.Code != 500 || got != `{"error":"could not connect to ratings database"}` {
				t.Errorf("got %d %s", rec.Code, got)
			}
			if took := time.Since(start); took > 2400*time.Millisecond {
				t.Errorf("took %v, longer than reviews v3 waits", took)
			}
		})
	}
}
