package database

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/ratings"
)

// mongoURL names a server to use in place of one that the test starts. Its collection test.ratings is dropped.
const mongoURL = "BOOKINFO_TEST_MONGO_URL"

// runMongo starts a server that speaks MongoDB's protocol and returns its address. Files with a certificate and its key
// turn TLS on.
func runMongo(t *testing.T, tls ...string) string {
	t.Helper()
	java, maven := need.Tool(t, "java"), need.Tool(t, "maven")
	path := filepath.Join(t.TempDir(), "classpath")
	resolve := exec.CommandContext(t.Context(), maven, "-q", "-B", "-f", "testdata/mongo/pom.xml",
		"dependency:build-classpath", "-Dmdep.outputFile="+path)
	if output, err := resolve.CombinedOutput(); err != nil {
		need.Missing(t, "maven", "de.bwaldvogel:mongo-java-server cannot be fetched: "+string(output))
	}
	classpath, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	server := exec.CommandContext(t.Context(), java, append([]string{"-cp", string(classpath), "testdata/mongo/Server.java"}, tls...)...)
	var log bytes.Buffer
	server.Stderr = &log
	stdin, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = server.Process.Kill()
		_ = server.Wait() // killed
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if port, found := strings.CutPrefix(lines.Text(), "listening "); found {
			return "127.0.0.1:" + port
		}
	}
	t.Fatalf("the server does not start:\n%s", &log)
	return ""
}

func TestContract60_MongoDB(t *testing.T) {
	url := os.Getenv(mongoURL)
	if url == "" {
		url = "mongodb://" + runMongo(t) + "/test"
	}
	checkMongo(t, url)
}

func TestContract60_MongoDBOverTLS(t *testing.T) {
	dir := t.TempDir()
	certificate, key, authority := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "ca.pem")
	writeCertificate(t, certificate, key, authority)
	address := runMongo(t, certificate, key)
	checkMongo(t, "mongodb://"+address+"/test?authSource=test&ssl=true&tlsCAFile="+authority)

	s := ratings.New(ratings.Config{Version: "v2", Database: NewMongoDB("mongodb://" + address + "/test")})
	defer s.Close()
	if status, body := ask(t, s, "GET", "/ratings/0"); status != 500 || body != `{"error":"could not connect to ratings database"}` {
		t.Errorf("without TLS: got %d %s", status, body)
	}
}

// The URL that tutorials for a database outside use must reach the driver whole.
func TestContract60_MongoURLWithUser(t *testing.T) {
	opts := options.Client().ApplyURI("mongodb://bookinfo:secret@db.example:16335/test?authSource=test&ssl=true")
	if err := opts.Validate(); err != nil {
		t.Fatal(err)
	}
	if opts.Auth == nil || opts.Auth.Username != "bookinfo" || opts.Auth.Password != "secret" || opts.Auth.AuthSource != "test" {
		t.Errorf("login: %+v", opts.Auth)
	}
	if opts.TLSConfig == nil {
		t.Error("no TLS")
	}
}

func checkMongo(t *testing.T, url string) {
	t.Helper()
	admin, err := mongo.Connect(options.Client().ApplyURI(url))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Disconnect(t.Context())
	collection := admin.Database("test").Collection("ratings")
	set := func(values ...any) {
		t.Helper()
		if err := collection.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, rating := range values {
			if _, err := collection.InsertOne(t.Context(), bson.D{{Key: "rating", Value: rating}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := ratings.New(ratings.Config{Version: "v2", Database: NewMongoDB(url)})
	defer s.Close()
	check := func(name string, wantStatus int, want string) {
		t.Helper()
		if status, body := ask(t, s, "GET", "/ratings/0"); status != wantStatus || body != want {
			t.Errorf("%s: got %d %s, want %d %s", name, status, body, wantStatus, want)
		}
	}
	set()
	check("empty", 200, `{"id":0,"ratings":{"Reviewer1":0,"Reviewer2":0}}`)
	set(5, 4)
	check("seeded", 200, `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)
	set(1.0, int64(1), 9)
	check("set, and a third", 200, `{"id":0,"ratings":{"Reviewer1":1,"Reviewer2":1}}`)
	set(2.5, nil)
	check("fraction and null", 200, `{"id":0,"ratings":{"Reviewer1":2.5,"Reviewer2":null}}`)
	set("5", bson.A{})
	check("no number", 500, `{"error":"could not load ratings from database"}`)
	set(3)
	check("only one", 200, `{"id":0,"ratings":{"Reviewer1":3,"Reviewer2":0}}`)
}

// writeCertificate makes a certificate for 127.0.0.1 that signs itself, as DER with its key and as PEM.
func writeCertificate(t *testing.T, certificate, key, authority string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mongo for tests"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{
		certificate: der,
		key:         pkcs8,
		authority:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
