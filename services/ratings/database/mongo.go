package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/services/ratings"
)

// MongoDB reads the ratings from the collection ratings of a MongoDB server.
type MongoDB struct {
	url string

	mu     sync.Mutex
	client *mongo.Client
}

func mongoFromEnv(env *settings.Env) *MongoDB {
	url := env.String("MONGO_DB_URL", "", "URL of MongoDB, with user, authSource and ssl where the server wants them")
	if url != "" && !strings.HasPrefix(url, "mongodb://") && !strings.HasPrefix(url, "mongodb+srv://") {
		env.RejectSecret("MONGO_DB_URL", "mongodb://[USER:PASSWORD@]HOST[:PORT]/test[?authSource=DATABASE][&ssl=true]")
	}
	return NewMongoDB(url)
}

// NewMongoDB returns a pool for the server of url, which connects when it is first asked. An empty url is a server that
// cannot be reached.
func NewMongoDB(url string) *MongoDB { return &MongoDB{url: url} }

// connect makes the client at the first request and not before: a URL with mongodb+srv asks the name service.
func (m *MongoDB) connect() (*mongo.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil {
		return m.client, nil
	}
	if m.url == "" {
		return nil, errors.New("MONGO_DB_URL is not set")
	}
	client, err := mongo.Connect(options.Client().
		ApplyURI(m.url).
		SetServerSelectionTimeout(timeout).
		SetConnectTimeout(timeout).
		SetMaxPoolSize(maxConnections).
		SetMaxConnIdleTime(maxConnectionAge))
	if err != nil {
		return nil, err
	}
	m.client = client
	return client, nil
}

// Ratings implements [ratings.Database].
func (m *MongoDB) Ratings(ctx context.Context) (ratings.Ratings, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	client, err := m.connect()
	if err != nil {
		return ratings.Ratings{}, errConnect(err)
	}
	cursor, err := client.Database(databaseName).Collection("ratings").Find(ctx, bson.D{}, options.Find().SetLimit(2))
	if err != nil {
		return ratings.Ratings{}, mongoError(err)
	}
	defer func() { _ = cursor.Close(ctx) }() // what it held has been read
	found := none()
	for i := 0; i < len(found) && cursor.Next(ctx); i++ {
		if found[i], err = ratingJSON(cursor.Current.Lookup("rating")); err != nil {
			return ratings.Ratings{}, errLoad(err)
		}
	}
	if err := cursor.Err(); err != nil {
		return ratings.Ratings{}, mongoError(err)
	}
	return found, nil
}

// Close implements [ratings.Database].
func (m *MongoDB) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return m.client.Disconnect(ctx)
}

// ratingJSON is the JSON of a document's rating, and "" without one.
func ratingJSON(v bson.RawValue) (string, error) {
	if v.IsZero() {
		return "", nil
	}
	switch v.Type {
	case bson.TypeNull:
		return "null", nil
	case bson.TypeInt32, bson.TypeInt64:
		return string(ratings.AppendNumber(nil, float64(v.AsInt64()))), nil
	case bson.TypeDouble:
		return string(ratings.AppendNumber(nil, v.Double())), nil
	case bson.TypeString:
		text, err := json.Marshal(v.StringValue())
		return string(text), err
	}
	return "", fmt.Errorf("field rating holds a %s, want a number", v.Type)
}

// mongoError tells apart what the server says about the query from everything on the way there.
func mongoError(err error) error {
	var said mongo.CommandError
	if errors.As(err, &said) && !mongo.IsNetworkError(err) && !mongo.IsTimeout(err) {
		return errLoad(err)
	}
	return errConnect(err)
}

func errLoad(err error) error {
	return &server.Error{Status: http.StatusInternalServerError, Message: "could not load ratings from database", Err: err}
}
