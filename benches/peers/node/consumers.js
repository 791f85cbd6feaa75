// sqs-consumer as its documentation has it.
import { SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

/** Starts so many consumers of the queue. */
export function start(count, options) {
  const sqs = new SQSClient({});
  for (let number = 0; number < count; number += 1) {
    const consumer = Consumer.create({ sqs, queueUrl: process.env.SQS_QUEUE_URL, batchSize: 10, ...options });
    for (const event of ["error", "processing_error", "timeout_error"]) {
      consumer.on(event, (error) => console.error(event, error.message));
    }
    consumer.start();
  }
}
