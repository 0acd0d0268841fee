package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/services/ratings"
)

// MySQL reads the ratings from the table ratings of a MySQL or MariaDB server.
type MySQL struct {
	pool *sql.DB
}

// MySQLConfig is how the server is reached.
type MySQLConfig struct {
	Host     string
	Port     int
	User     string
	Password string
	TLS      string // as the driver's parameter tls: false, preferred, skip-verify or true
}

func mysqlFromEnv(env *settings.Env) *MySQL {
	return NewMySQL(MySQLConfig{
		Host:     env.String("MYSQL_DB_HOST", "localhost", "host of MySQL"),
		Port:     env.Int("MYSQL_DB_PORT", 3306, 1, 65535, "port of MySQL"),
		User:     env.String("MYSQL_DB_USER", "", "user of MySQL"),
		Password: env.String("MYSQL_DB_PASSWORD", "", "password of MySQL"),
		TLS:      env.OneOf("MYSQL_DB_TLS", "false", "TLS to MySQL", "false", "preferred", "skip-verify", "true"),
	})
}

// Size and age of the pool. Connections end before a server or a firewall between would drop them.
const (
	maxConnections     = 16
	maxIdleConnections = 4
	maxConnectionAge   = 5 * time.Minute
)

// NewMySQL returns a pool that connects when it is first asked.
func NewMySQL(cfg MySQLConfig) *MySQL {
	c := mysql.NewConfig()
	c.Net = "tcp"
	c.Addr = net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port))
	c.User = cfg.User
	c.Passwd = cfg.Password
	c.DBName = databaseName
	c.TLSConfig = cfg.TLS
	c.Timeout = timeout
	c.ReadTimeout = timeout
	c.WriteTimeout = timeout
	c.AllowNativePasswords = true
	c.Logger = &mysql.NopLogger{} // its lines would not be in the form of the log; errors come back by value
	pool := sql.OpenDB(connector{c})
	pool.SetMaxOpenConns(maxConnections)
	pool.SetMaxIdleConns(maxIdleConnections)
	pool.SetConnMaxLifetime(maxConnectionAge)
	return &MySQL{pool: pool}
}

// connector makes the driver's connector anew for each connection, so that a configuration that the driver refuses is
// the error of a request and not of the constructor.
type connector struct{ *mysql.Config }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	made, err := mysql.NewConnector(c.Config)
	if err != nil {
		return nil, err
	}
	return made.Connect(ctx)
}

func (connector) Driver() driver.Driver { return mysql.MySQLDriver{} }

// Ratings implements [ratings.Database].
func (m *MySQL) Ratings(ctx context.Context) (ratings.Ratings, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	rows, err := m.pool.QueryContext(ctx, "SELECT Rating FROM ratings")
	if err != nil {
		return ratings.Ratings{}, mysqlError(err)
	}
	defer func() { _ = rows.Close() }() // rows.Err was asked
	found := none()
	for i := 0; i < len(found) && rows.Next(); i++ {
		var rating sql.NullFloat64
		if err := rows.Scan(&rating); err != nil {
			return ratings.Ratings{}, errSelect(err)
		}
		found[i] = "null"
		if rating.Valid {
			found[i] = string(ratings.AppendNumber(nil, rating.Float64))
		}
	}
	if err := rows.Err(); err != nil {
		return ratings.Ratings{}, mysqlError(err)
	}
	return found, nil
}

// Close implements [ratings.Database].
func (m *MySQL) Close() error { return m.pool.Close() }

// mysqlError tells apart what the server says about the query from everything on the way there.
func mysqlError(err error) error {
	var said *mysql.MySQLError
	if errors.As(err, &said) && !refusesLogin(said.Number) {
		return errSelect(err)
	}
	return errConnect(err)
}

// refusesLogin knows the errors of a login: they come before any query.
func refusesLogin(number uint16) bool {
	switch number {
	case 1040, // too many connections
		1044, // access denied to the database
		1045, // access denied to the user
		1049, // unknown database
		1129, // host is blocked
		1130, // host is not allowed
		1203, // user has too many connections
		1226, // user has used up a resource
		1251, // authentication protocol not supported
		1698: // access denied, no password
		return true
	}
	return false
}

func errSelect(err error) error {
	return &server.Error{Status: http.StatusInternalServerError, Message: "could not perform select", Err: err}
}
