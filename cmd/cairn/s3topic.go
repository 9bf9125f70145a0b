package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/gateways/s3"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/node"
)

func newTopicCommand(e *env) *cobra.Command {
	var pool, endpoint string
	create := e.leaf("create NAME --endpoint URL", "Make a topic, or give it another URL", args("NAME"), func(ctx context.Context, a []string) error {
		return runTopicCreate(ctx, e, pool, a[0], endpoint)
	})
	create.Flags().StringVar(&endpoint, "endpoint", "", "http or https URL that events are posted to")
	cmd := group("topic", "Where the events of buckets go",
		create,
		e.leaf("ls", "List topics", args(), func(ctx context.Context, _ []string) error { return runTopicList(ctx, e, pool) }),
		e.leaf("rm NAME", "Remove a topic; what waits for it is dropped", args("NAME"), func(ctx context.Context, a []string) error { return runTopicRemove(ctx, e, pool, a[0]) }),
	)
	cmd.PersistentFlags().StringVarP(&pool, "pool", "p", node.DefaultS3Pool, "pool of the S3 gateways")
	return cmd
}

// withTopics opens the gateways' pool.
func withTopics(ctx context.Context, e *env, pool string, f func(s *bucket.Service) error) error {
	return withPool(ctx, e, pool, func(p objectPool) error {
		s, err := bucket.NewService(bucket.Options{Meta: p, Data: p})
		if err != nil {
			return err
		}
		return errors.Join(f(s), s.Close())
	})
}

func runTopicCreate(ctx context.Context, e *env, pool, name, endpoint string) error {
	if endpoint == "" {
		return usageErrorf("flag --endpoint is missing: want the URL that events are posted to")
	}
	if err := s3.CheckTopicName(name); err != nil {
		return fmt.Errorf("%w: %w", api.ErrInvalid, err)
	}
	doc, err := s3.NewTopic(endpoint, time.Now())
	if err != nil {
		return fmt.Errorf("%w: %w", api.ErrInvalid, err)
	}
	if err := withTopics(ctx, e, pool, func(s *bucket.Service) error { return s.SetTopic(ctx, name, doc) }); err != nil {
		return err
	}
	return e.done("topic '%s' set; in configurations of buckets it is arn:aws:sns:us-east-1::%s", name, name)
}

func runTopicList(ctx context.Context, e *env, pool string) error {
	topics := []show.S3Topic{}
	err := withTopics(ctx, e, pool, func(s *bucket.Service) error {
		all, err := s.Topics(ctx)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			t, err := s3.ParseTopic(all[name])
			if err != nil {
				return fmt.Errorf("topic %q: %w", name, err)
			}
			topics = append(topics, show.S3Topic{Name: name, Endpoint: t.Endpoint, Created: t.Created})
		}
		return err
	})
	if err != nil {
		return err
	}
	if e.json() {
		return e.printJSON(topics)
	}
	return show.S3Topics(e.stdout, topics)
}

func runTopicRemove(ctx context.Context, e *env, pool, name string) error {
	err := withTopics(ctx, e, pool, func(s *bucket.Service) error {
		doc, err := s.Topic(ctx, name)
		if err == nil && doc == nil {
			err = fmt.Errorf("topic %q: %w; see `cairn s3 topic ls`", name, api.ErrNotFound)
		}
		if err != nil {
			return err
		}
		return s.SetTopic(ctx, name, nil)
	})
	if err != nil {
		return err
	}
	return e.done("topic '%s' removed", name)
}
