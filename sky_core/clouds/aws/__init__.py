"""Amazon Web Services: EC2 and S3 through boto3. Imported in the driver only."""
